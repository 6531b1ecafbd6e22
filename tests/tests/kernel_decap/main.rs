//! The programs of a backend, as the repository keeps them built, do in the kernel what the library does on the
//! host: with every frame of the tables, cut anywhere, and with a byte changed anywhere.
#![cfg(feature = "root")]
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on panics"
)]
#![expect(dead_code, unreachable_pub, reason = "modules that several tests share")]

#[path = "../../../lb-ebpf/tests/cast/mod.rs"]
mod cast;
#[path = "../../../lb-ebpf/tests/decap/congestion.rs"]
mod congestion;
#[path = "../packet_path/mod.rs"]
mod packet_path;
#[path = "../../../lb-ebpf/tests/decap/segments.rs"]
mod segments;
#[path = "../../../lb-ebpf/tests/decap/tunnels.rs"]
mod tunnels;

use aya::Ebpf;
use aya::maps::lpm_trie::{Key as Prefix, LpmTrie};
use aya::maps::{Array, HashMap, MapData, PerCpuArray};
use aya::programs::{SchedClassifier, TestRun, TestRunOptions, Xdp};
use lb_agent::io::datapath::DECAP_OBJECT;
use lb_common::decap::{Key, Settings, Verdict, map};
use lb_common::layout::Count;
use lb_common::verdict::Kind;
use lb_ebpf::decap::HostMaps;

use packet_path::{Ran, check_sizes, counted, run, take};
use tunnels::{backend, carry, request, ways};

/// `XDP_DROP` and `XDP_PASS` of linux/bpf.h.
const DROP: u32 = 1;
const PASS: u32 = 2;
/// `TC_ACT_UNSPEC` of `linux/pkt_cls.h`: what comes next decides.
const NEXT: i32 = -1;
/// `BPF_PROG_TEST_RUN` takes no shorter frames.
const SHORTEST: usize = 14;
/// For what goes out it wants the IP header whole (Linux 6.18 answers EINVAL).
const SHORTEST_OUT: usize = SHORTEST + 40;
const LOOPBACK: u32 = 1;

/// The programs in the kernel, with the maps of the host.
struct Kernel {
    loaded: Ebpf,
    verdicts: PerCpuArray<MapData, Count>,
}

impl Kernel {
    fn with(host: &HostMaps) -> Self {
        let mut loaded = Ebpf::load(DECAP_OBJECT).expect("these tests need root");
        let mut settings: Array<MapData, Settings> = take(&mut loaded, map::SETTINGS);
        settings.set(0, host.settings, 0).unwrap();
        let mut addresses: HashMap<MapData, Key, u32> = take(&mut loaded, map::ADDRESSES);
        for (address, role) in &host.addresses {
            addresses.insert(address, role, 0).unwrap();
        }
        let mut sources: LpmTrie<MapData, Key, u32> = take(&mut loaded, map::SOURCES);
        for source in &host.sources {
            let bits = if source.is_ipv4() { 32 } else { 128 };
            let key = Prefix::new(Key::FAMILY_BITS + bits, Key::from(*source));
            sources.insert(&key, 1, 0).unwrap();
        }
        let decap: &mut Xdp = loaded.program_mut("sluice_decap").unwrap().try_into().unwrap();
        decap.load().unwrap();
        let clamp: &mut SchedClassifier =
            loaded.program_mut("sluice_clamp").unwrap().try_into().unwrap();
        clamp.load().unwrap();
        let verdicts = take(&mut loaded, map::VERDICTS);
        Self { loaded, verdicts }
    }

    fn receive(&self, frame: &[u8]) -> Ran {
        let program: &Xdp = self.loaded.program("sluice_decap").unwrap().try_into().unwrap();
        run(program, frame, LOOPBACK)
    }

    fn send(&self, frame: &[u8]) -> Vec<u8> {
        let program: &SchedClassifier =
            self.loaded.program("sluice_clamp").unwrap().try_into().unwrap();
        let mut output = vec![0; frame.len() + 64];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut output),
            ..TestRunOptions::default()
        };
        let result = program.test_run(options).unwrap();
        assert_eq!(result.return_value.cast_signed(), NEXT);
        output.truncate(usize::try_from(result.data_size_out).unwrap());
        output
    }
}

/// Both, and what they were seen to do.
struct Pair {
    host: HostMaps,
    kernel: Kernel,
}

impl Pair {
    fn new() -> Self {
        let host = backend();
        Self { kernel: Kernel::with(&host), host }
    }

    fn receive(&self, frame: &[u8]) -> (Verdict, Vec<u8>) {
        let (verdict, after) = self.host.receive(frame);
        let action = if verdict.kind() == Kind::Dropped { DROP } else { PASS };
        let expected = Ran { action, frame: after };
        let ran = self.kernel.receive(frame);
        assert!(ran == expected, "{frame:02x?}\nhost: {verdict:?} {expected:02x?}\n{ran:02x?}");
        (verdict, ran.frame)
    }

    fn send(&self, frame: &[u8]) -> Vec<u8> {
        let (expected, after) = (self.host.send(frame), self.kernel.send(frame));
        assert!(after == expected, "{frame:02x?}\nhost: {expected:02x?}\n{after:02x?}");
        after
    }

    fn compare_counts(&self) {
        for verdict in Verdict::ALL {
            let counts = counted(&self.kernel.verdicts, verdict.number());
            assert_eq!(counts, self.host.counted(*verdict), "{}", verdict.name());
        }
    }
}

/// A frame with each of its bytes changed in turn.
fn changed(frame: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..frame.len()).map(|at| {
        let mut frame = frame.to_vec();
        frame[at] = frame[at].wrapping_add(1);
        frame
    })
}

#[test]
fn the_verifier_accepts_both_programs_with_room_to_spare() {
    check_sizes(&Kernel::with(&backend()).loaded, &["sluice_clamp", "sluice_decap"]);
}

#[test]
fn the_kernel_does_with_every_frame_of_the_table_what_the_table_says() {
    let pair = Pair::new();
    for case in tunnels::table() {
        let (verdict, after) = pair.receive(&case.frame);
        assert_eq!((verdict, after), (case.verdict, case.after), "{}", case.name);
    }
    pair.compare_counts();
}

#[test]
fn kernel_and_host_agree_on_packets_that_are_cut_or_changed_anywhere() {
    let pair = Pair::new();
    for (outer, carrier, inner) in ways() {
        let whole = carry(outer, carrier, &request(inner)).bytes();
        for length in SHORTEST..whole.len() {
            pair.receive(&whole[..length]);
        }
        for frame in changed(&whole) {
            pair.receive(&frame);
        }
    }
    pair.compare_counts();
    assert!(pair.host.counted(Verdict::Decapsulated).packets > 100);
    assert!(pair.host.counted(Verdict::MalformedInner).packets > 10);
}

#[test]
fn the_kernel_clamps_segments_as_the_table_says() {
    let pair = Pair::new();
    for leaving in segments::table() {
        assert!(pair.send(&leaving.before) == leaving.after, "{}", leaving.name);
        for length in SHORTEST_OUT..leaving.before.len() {
            pair.send(&leaving.before[..length]);
        }
        for frame in changed(&leaving.before) {
            pair.send(&frame);
        }
    }
    pair.compare_counts();
    assert!(pair.host.counted(Verdict::SegmentClamped).packets > 100);
}
