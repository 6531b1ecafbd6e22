//! Services that go by another name, or by another VIP: what is known of their servers stays known.

use super::*;
use crate::model::cast::at;

#[test]
fn a_dead_backend_stays_dead_when_its_service_is_renamed() {
    let mut world = World::begin(config(vec![shop(3)]));
    world.run(seconds(10));
    world.kill(v4(2));
    world.run(bound());
    let mut renamed = shop(3);
    renamed.name = "store".to_owned();
    renamed.backends.iter_mut().for_each(|backend| backend.name.push('a'));
    world.load(config(vec![renamed])).unwrap();
    world.run(seconds(10));
    assert_eq!(world.rotations_since(seconds(10)), ["web1 web2 web3", "web1 web3"]);
}

#[test]
fn a_dead_backend_stays_dead_when_its_service_has_moved_at_a_restart() {
    let mut world = World::begin(config(vec![shop(3)]));
    world.run(seconds(10));
    world.kill(v4(2));
    world.run(bound());
    let mut moved = shop(3);
    moved.listen = vec![at("203.0.113.99:80")];
    world.restart_with(config(vec![moved]));
    assert_eq!(world.agent.checks().of(&target(2, v4(2))), Health::Down);
    assert_eq!(world.agent.checks().of(&target(1, v4(1))), Health::Up);
}
