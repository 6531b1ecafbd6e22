//! What becomes of a text, byte for byte.

use super::super::{Backend, BackendState, Config, parse};
use super::edit;

const HEAD: &str = "version = 1
[datapath]
interfaces = [ 'eth0' ] # one

[[service]]
name = \"shop\"
listen = '203.0.113.10:80'
health_check = { type = \"tcp\" }   # inline
";

/// Headers, with all that a person may write between them.
const TABLES: &str = "
  # The first.
  [[service.backend]]   # head
  name = 'web1'
  \"weight\" =  7  # light
  address = [
    '192.0.2.11:80', # v4
    '[2001:db8:1::11]:80', # v6
  ]

  # --- the others ---

  # The second.
  [[service.backend]]
  address = '192.0.2.12:80'
  name = 'web2'

[health_check.spare]   # between
type = 'tcp'

  [[service.backend]]
  name = 'web3'
  address = \"192.0.2.13:80\"
# The end.
";

fn read(text: &str) -> Config {
    parse("lb.toml", text, "host1").unwrap_or_else(|problems| panic!("{problems}")).config
}

/// The text with the backends of its first service changed; it must mean just that.
fn edited(text: &str, change: impl FnOnce(&mut Vec<Backend>)) -> String {
    let before = read(text);
    let mut after = before.clone();
    change(&mut after.services[0].backends);
    let edited = edit(text, &before, &after).unwrap();
    assert_eq!(read(&edited), after, "{edited}");
    edited
}

/// The same for texts that follow the head.
fn becomes(list: &str, change: impl FnOnce(&mut Vec<Backend>), wanted: &str) {
    assert_eq!(edited(&format!("{HEAD}{list}"), change), format!("{HEAD}{wanted}"));
}

fn web(number: u8) -> Backend {
    Backend {
        name: format!("web{number}"),
        address: vec![format!("192.0.2.1{number}:80").parse().unwrap()],
        weight: 100,
        state: BackendState::Ready,
        backup: false,
    }
}

#[test]
fn a_text_that_is_not_changed_stays() {
    for end in ["\n", "\r\n"] {
        let text = format!("{HEAD}{TABLES}").replace('\n', end);
        assert_eq!(edited(&text, |_| {}), text);
    }
}

#[test]
fn values_are_replaced_where_they_stand_and_missing_keys_follow_the_others() {
    let change = |backends: &mut Vec<Backend>| {
        backends[0].weight = 9;
        backends[0].address[0] = "192.0.2.99:80".parse().unwrap();
        backends[1].state = BackendState::Drain;
        backends[2].backup = true;
        backends[2].address.push("[2001:db8:1::13]:80".parse().unwrap());
    };
    let wanted = TABLES
        .replace(" 7 ", " 9 ")
        .replace("'192.0.2.11:80'", "\"192.0.2.99:80\"")
        .replace("'web2'\n", "'web2'\n  state = \"drain\"\n")
        .replace(
            "\"192.0.2.13:80\"\n",
            "[\"192.0.2.13:80\", \"[2001:db8:1::13]:80\"]\n  backup = true\n",
        );
    becomes(TABLES, change, &wanted);
}

#[test]
fn a_deleted_table_takes_its_comment_along_and_no_other() {
    let (before, _) = TABLES.split_once("\n  # The second.").unwrap();
    let (_, after) = TABLES.split_once("'web2'\n").unwrap();
    becomes(TABLES, |all| drop(all.remove(1)), &format!("{before}{after}"));
    let (_, after) = TABLES.split_once("  ]\n").unwrap();
    becomes(TABLES, |all| drop(all.remove(0)), after);
}

#[test]
fn a_new_table_looks_like_the_last() {
    let added = Backend { weight: 5, backup: true, state: BackendState::Maint, ..web(4) };
    let table = "
  [[service.backend]]
  name = \"web4\"
  address = \"192.0.2.14:80\"
  weight = 5
  state = \"maint\"
  backup = true
# The end.";
    becomes(TABLES, |all| all.push(added), &TABLES.replace("# The end.", table));
    let dense = "[[service.backend]]\nname = 'web1'\naddress = '192.0.2.11:80'";
    let more = "\n[[service.backend]]\nname = \"web2\"\naddress = \"192.0.2.12:80\"";
    becomes(dense, |all| all.push(web(2)), &format!("{dense}{more}"));
}

#[test]
fn the_first_table_and_the_last_can_go() {
    let header = "\n[[service.backend]]\nname = \"web1\"\naddress = \"192.0.2.11:80\"\n";
    becomes("# Rest.\n", |all| all.push(web(1)), &format!("{header}# Rest.\n"));
    becomes(&format!("{header}# Rest.\n"), Vec::clear, "# Rest.\n");
}

#[test]
fn carriage_returns_stay_and_come_with_new_lines() {
    let text = format!("{HEAD}{TABLES}").replace('\n', "\r\n");
    let edited = edited(&text, |all| {
        all[1].weight = 3;
        all.remove(0);
        all.push(web(4));
    });
    assert_eq!(edited.matches('\n').count(), edited.matches("\r\n").count(), "{edited:?}");
}

#[test]
fn a_list_on_one_line_stays_on_one_line() {
    let list = "backend = [{ name = 'web1', address = '192.0.2.11:80' }, {name='web2', address='192.0.2.12:80'}] # all\n";
    let first = "{ name = 'web1', address = '192.0.2.11:80' }";
    let second = "{name='web2', address='192.0.2.12:80'}";
    let third = "{ name = \"web3\", address = \"192.0.2.13:80\" }";
    let line = |items: &[&str]| format!("backend = [{}] # all\n", items.join(", "));
    becomes(list, |all| drop(all.remove(0)), &line(&[second]));
    becomes(list, |all| drop(all.remove(1)), &line(&[first]));
    becomes(list, Vec::clear, &line(&[]));
    becomes(list, |all| all.push(web(3)), &line(&[first, second, third]));
    becomes(&line(&[]), |all| all.push(web(3)), &line(&[third]));
    let weighted = "{name='web2', address='192.0.2.12:80', weight = 3}";
    becomes(list, |all| all[1].weight = 3, &line(&[first, weighted]));
    let replaced = |all: &mut Vec<Backend>| *all = vec![web(3)];
    becomes(list, replaced, &line(&[third]));
}

#[test]
fn a_list_on_many_lines_keeps_its_lines_and_comments() {
    let list = "backend = [ # all
  # First.
  { name = 'web1', address = '192.0.2.11:80' }, # one, of two
  # --- more ---

  # Second.
  { name = 'web2', address = '192.0.2.12:80' } # two
  # No more.
]
";
    let wanted = list
        .replace("'192.0.2.12:80' } #", "'192.0.2.12:80', weight = 2 }, #")
        .replace("# two\n", "# two\n  { name = \"web3\", address = \"192.0.2.13:80\" },\n");
    let change = |all: &mut Vec<Backend>| {
        all[1].weight = 2;
        all.push(web(3));
    };
    becomes(list, change, &wanted);
    let first = "  # First.\n  { name = 'web1', address = '192.0.2.11:80' }, # one, of two\n";
    becomes(list, |all| drop(all.remove(0)), &list.replace(first, ""));
    let second = "  # Second.\n  { name = 'web2', address = '192.0.2.12:80' } # two\n";
    let wanted = list.replace(second, "").replace(" }, # one", " } # one");
    becomes(list, |all| drop(all.remove(1)), &wanted);
}

#[test]
fn a_service_in_one_line_gets_its_backends_there() {
    let text = "version = 1\nservice = [{ name = 'shop', listen = ['203.0.113.10:80'] }] # s\n[datapath]\ninterfaces = ['eth0']\n";
    let new = ", backend = [{ name = \"web1\", address = \"192.0.2.11:80\" }] }] # s";
    assert_eq!(edited(text, |all| all.push(web(1))), text.replace(" }] # s", new));
}

#[test]
fn an_address_that_goes_leaves_the_list_and_its_other_comments() {
    let wanted = TABLES.replace("    '[2001:db8:1::11]:80', # v6\n", "");
    becomes(TABLES, |all| all[0].address.truncate(1), &wanted);
}

#[test]
fn a_text_of_another_configuration_is_not_edited() {
    let before = read(&format!("{HEAD}{TABLES}"));
    let mut after = before.clone();
    after.services[0].backends.clear();
    assert_eq!(edit("version = 1\n", &before, &after), None);
    assert_eq!(edit("version = ", &before, &after), None);
}
