//! Open connections go on at the other director when the VIP moves.

use lb_tests::http_server::{checksum, pattern};

use super::directors::{KEY, Part, Worlds, both_vips, wait_for_flows, wait_until_in_step};

#[test]
fn an_open_connection_goes_on_at_the_other_director() {
    let worlds = Worlds::new(2).unwrap();
    let services = worlds.shop("nat", "rr");
    let part = Part { datapath: "", services: &services, key: KEY };
    let [first, second] = [0, 1].map(|index| worlds.start(index, &part).unwrap());
    first.wait_until_all_up().unwrap();
    second.wait_until_all_up().unwrap();
    wait_until_in_step([&first, &second]).unwrap();
    let vips = both_vips();
    let mut open: Vec<_> =
        vips.iter().cycle().take(8).map(|vip| worlds.connect(*vip).unwrap()).collect();
    let before: Vec<_> = open.iter_mut().map(|open| open.get("/").unwrap().backend).collect();
    wait_for_flows(&second, 8).unwrap();
    worlds.move_to(1).unwrap();
    for (open, backend) in open.iter_mut().zip(&before) {
        let answer = open.get("/bytes/200000").unwrap();
        assert_eq!(
            (&answer.backend, checksum(&answer.body)),
            (backend, checksum(&pattern(200_000)))
        );
    }
    let listed = second.ctl_json(&["drops"]).unwrap();
    println!("{listed}");
}
