//! x
#[test]
fn show() {
    let text = "version = 2\n[datapath]\nintefaces = []\n[[service]]\nname = 'a'\nlisten='192.0.2.1'\n[[service]]\nname='a'\n";
    println!("{}", super::parse("lb.toml", text, "h").unwrap_err());
    println!("{}", super::parse("lb.toml", "a = \n= 3\n", "h").unwrap_err());
}
