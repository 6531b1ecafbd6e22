//! How problems look.

use super::problems;

fn shows(text: &str, expected: &str) {
    let shown = problems(text).to_string();
    assert_eq!(shown, expected.trim_matches('\n'), "\n{shown}");
}

const BEFORE: &str = "version = 1\n[datapath]\ninterfaces = [\"eth0\"]\n";

#[test]
fn an_unknown_key_is_shown_with_the_nearest() {
    shows(
        &format!("{BEFORE}[health_check.web]\ntype = \"tcp\"\ntimout = \"1s\"\n"),
        r#"
error: unknown key `timout` in [health_check.web]
 --> lb.toml:6:1
  |
6 | timout = "1s"
  | ^^^^^^
  |
  = help: did you mean `timeout`?
"#,
    );
}

#[test]
fn a_missing_key_is_shown_at_its_table() {
    shows(
        &format!("{BEFORE}[[service]]\nname = \"shop\"\n"),
        r#"
error: missing key `listen` in [[service]]
 --> lb.toml:4:1
  |
4 | [[service]]
  | ^^^^^^^^^^^
  |
  = help: add `listen = ["203.0.113.10:80"]`
"#,
    );
}

#[test]
fn an_empty_file_has_a_place_too() {
    shows(
        "",
        r#"
error: missing key `version` in the file
 --> lb.toml:1:1
  |
1 |
  | ^
  |
  = help: add `version = 1`

error: missing key `interfaces` in [datapath]
 --> lb.toml:1:1
  |
1 |
  | ^
  |
  = help: add `interfaces = ["eth0"]`
"#,
    );
}

#[test]
fn a_repeated_name_is_shown_with_its_first_use() {
    shows(
        &format!(
            "{BEFORE}[[service]]\nname = \"shop\"\nlisten = [\"203.0.113.10:80\"]\n\
             [[service]]\nname = \"shop\"\nlisten = [\"203.0.113.10:81\"]\n"
        ),
        r#"
error: the service name "shop" is used twice
 --> lb.toml:8:8
  |
5 | name = "shop"
  |        ------ first used here
...
8 | name = "shop"
  |        ^^^^^^
  |
  = help: give each service a name of its own
"#,
    );
}

const SEVERAL: &str = r#"version = 1
pool = []
[datapath]
interfaces = ["eth0"]
max_flows = 10
[datapath.timeouts]
udp = 60
[[service]]
name = "shop"
listen = ["203.0.113.10:80"]
scheduler = "maglef"
health_check = "web"
"#;

const SEVERAL_SHOWN: &str = r#"
error: `pool` is not supported yet
 --> lb.toml:2:1
  |
2 | pool = []
  | ^^^^
  |
  = help: remove it: this version does not do what it asks for

error: 10 is not within 1024 to 16777216
 --> lb.toml:5:13
  |
5 | max_flows = 10
  |             ^^
  |
  = help: give an integer from 1024 to 16777216, without quotes

error: the duration 60 has no unit
 --> lb.toml:7:7
  |
7 | udp = 60
  |       ^^
  |
  = help: write "60s" for seconds or "60ms"

error: unknown value "maglef"
  --> lb.toml:11:13
   |
11 | scheduler = "maglef"
   |             ^^^^^^^^
   |
   = help: did you mean "maglev"?

error: there is no health check "web"
  --> lb.toml:12:16
   |
12 | health_check = "web"
   |                ^^^^^
   |
   = help: add a table `[health_check.web]`
"#;

#[test]
fn several_problems_are_all_shown_in_the_order_of_lines() {
    shows(SEVERAL, SEVERAL_SHOWN);
    assert_eq!(problems(SEVERAL).len(), 5);
}

#[test]
fn errors_of_syntax_are_shown_in_the_same_way() {
    let shown = problems("version = \n[datapath]\ninterfaces = [\"eth0\"]\nx = 'a\n").to_string();
    assert!(shown.contains(" --> lb.toml:1:11\n"), "{shown}");
    assert!(shown.contains(" --> lb.toml:4:"), "{shown}");
    assert!(!shown.contains("missing key"), "{shown}");
}

#[test]
fn columns_count_characters() {
    shows(
        "version = 1\n\"größe\" = { \"ü\" = 1 }\n[datapath]\ninterfaces = [\"eth0\", \"ä/b\"]\n",
        r#"
error: unknown key `größe` in the file
 --> lb.toml:2:1
  |
2 | "größe" = { "ü" = 1 }
  | ^^^^^^^
  |
  = help: the keys of the file are version, agent, api, metrics, datapath, health_check, service, firewall, sync, vrrp

error: "ä/b" cannot be the name of an interface
 --> lb.toml:4:23
  |
4 | interfaces = ["eth0", "ä/b"]
  |                       ^^^^^
  |
  = help: a name has 1 to 15 bytes, without space, '/' and ':'; `ip link` lists those that exist
"#,
    );
}

#[test]
fn escape_sequences_of_the_file_do_not_reach_the_terminal() {
    let shown = problems("version = 1\n\"a\\u001b[31m\" = 1\n'b' = \"\\u001b\"\n").to_string();
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
}

#[test]
fn colour_is_given_only_on_request() {
    let problems = problems("version = 2\n");
    assert!(!problems.to_string().contains('\u{1b}'));
    assert!(problems.coloured().contains('\u{1b}'));
}
