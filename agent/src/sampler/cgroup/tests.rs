use std::path::{Path, PathBuf};

use forebay_shared::{Bytes, Millicores, ResourceSample};

use super::*;
use crate::sampler::testing::{Tree, empty};

fn read(tree: &Tree, path: &str) -> Option<(ResourceSample, Version)> {
    let mut cgroup = Cgroup::given(tree.path(), Path::new(path))?;
    Some((reading(&mut cgroup, &mut Reader::default())?.whole, cgroup.version()))
}

fn reading(cgroup: &mut Cgroup, reader: &mut Reader) -> Option<Reading> {
    let mut reading = Reading::default();
    cgroup.read(reader, &mut reading).map(|()| reading)
}

#[test]
fn a_v1_cgroup_is_found_under_each_controllers_mount() {
    let tree = Tree::new(&[
        ("cpu,cpuacct/app/cpuacct.usage", "2500000\n"),
        ("cpu,cpuacct/app/cpuacct.stat", "user 10\nsystem 5\n"),
        ("cpu,cpuacct/app/cpu.stat", "nr_periods 7\nnr_throttled 2\nthrottled_time 9000\n"),
        ("cpu,cpuacct/app/cpu.cfs_quota_us", "50000\n"),
        ("cpu,cpuacct/app/cpu.cfs_period_us", "100000\n"),
        ("memory/app/memory.usage_in_bytes", "9000\n"),
        ("pids/app/pids.current", "3\n"),
    ]);
    let expected = ResourceSample {
        cpu_us: Some(2500),
        cpu_user_us: Some(100_000),
        cpu_system_us: Some(50_000),
        cpu_periods: Some(7),
        cpu_throttled_periods: Some(2),
        cpu_throttled_us: Some(9),
        cpu_quota: Some(Millicores(500)),
        memory: Some(Bytes(9000)),
        pids: Some(3),
        ..ResourceSample::default()
    };
    assert_eq!(read(&tree, "/app"), Some((expected, Version::V1)));
    assert_eq!(read(&tree, "/other"), None);
}

const V2: [(&str, &str); 12] = [
    ("cgroup.controllers", "cpu memory\n"),
    ("cpu.stat", "usage_usec 500\nuser_usec 300\nsystem_usec 200\nnr_periods 4\nnr_throttled 1\nthrottled_usec 7\n"),
    ("cpu.max", "150000 100000\n"),
    ("memory.current", "4096\n"),
    ("memory.peak", "8192\n"),
    ("memory.max", "max\n"),
    ("memory.stat", "anon 1000\nfile 3000\ninactive_file 96\n"),
    ("memory.events", "low 0\nhigh 1\nmax 2\noom 3\noom_kill 4\n"),
    ("io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4\n"),
    ("pids.current", "6\n"),
    ("cpu.pressure", "some avg10=0.00 total=11\n"),
    ("io.pressure", "some avg10=0.00 total=77\nfull avg10=0.00 total=70\n"),
];

fn v2_tree(dir: &str) -> Tree {
    let tree = Tree::new(&[]);
    for (file, text) in V2 {
        tree.write(&format!("{dir}/{file}"), text);
    }
    tree
}

fn v2_sample() -> ResourceSample {
    let mut sample = ResourceSample {
        cpu_us: Some(500),
        cpu_user_us: Some(300),
        cpu_system_us: Some(200),
        cpu_periods: Some(4),
        cpu_throttled_periods: Some(1),
        cpu_throttled_us: Some(7),
        cpu_quota: Some(Millicores(1500)),
        memory: Some(Bytes(4096)),
        memory_peak: Some(Bytes(8192)),
        memory_working_set: Some(Bytes(4000)),
        memory_anon: Some(Bytes(1000)),
        memory_file: Some(Bytes(3000)),
        memory_high_events: Some(1),
        memory_max_events: Some(2),
        oom_events: Some(3),
        oom_kills: Some(4),
        io_read_bytes: Some(1),
        io_write_bytes: Some(2),
        io_read_ops: Some(3),
        io_write_ops: Some(4),
        pids: Some(6),
        ..ResourceSample::default()
    };
    sample.pressure.cpu_some_us = Some(11);
    sample.pressure.io_some_us = Some(77);
    sample.pressure.io_full_us = Some(70);
    sample
}

#[test]
fn a_v2_cgroup_is_read_from_its_directory_however_it_is_named() {
    let tree = v2_tree("app");
    tree.write("cgroup.controllers", "cpu memory\n");
    let directory = tree.path().join("app");
    for path in ["/app", "app", directory.to_str().unwrap()] {
        assert_eq!(read(&tree, path), Some((v2_sample(), Version::V2)), "{path}");
    }
    let alone = v2_tree("unified/app");
    assert_eq!(read(&alone, "/app").unwrap().1, Version::V2);
}

#[test]
fn a_hybrid_cgroup_takes_from_v2_what_v1_has_not() {
    let tree = v2_tree("unified/app");
    tree.write("cpuacct/app/cpuacct.usage", "9000000\n");
    tree.write("cpu/app/cpu.cfs_quota_us", "-1\n");
    tree.write("memory/app/memory.usage_in_bytes", "1\n");
    let (sample, version) = read(&tree, "/app").unwrap();
    assert_eq!(
        (version, sample.cpu_us, sample.cpu_quota, sample.memory),
        (Version::Hybrid, Some(9000), None, Some(Bytes(1)))
    );
    assert_eq!((sample.pressure.io_some_us, sample.pids, sample.io_read_ops), (Some(77), Some(6), Some(3)));
    assert_eq!((sample.memory_peak, sample.cpu_periods), (None, None), "of the controllers that v1 has, nothing");
}

#[test]
fn a_cgroup_of_an_old_kernel_leaves_absent_what_it_lacks() {
    let tree = v2_tree("app");
    tree.write("cgroup.controllers", "cpu memory\n");
    for file in ["memory.peak", "cpu.pressure", "io.pressure", "pids.current", "cpu.max"] {
        std::fs::remove_file(tree.path().join("app").join(file)).unwrap();
    }
    let (sample, _) = read(&tree, "/app").unwrap();
    let expected = ResourceSample {
        memory_peak: None,
        pids: None,
        cpu_quota: None,
        pressure: forebay_shared::sample::Pressure::default(),
        ..v2_sample()
    };
    assert_eq!(sample, expected);
}

fn quota(tree: &Tree, child: &str, quota: &str, stat: &str) {
    tree.write(&format!("cpu/app/{child}/cpu.cfs_quota_us"), quota);
    tree.write(&format!("cpu/app/{child}/cpu.cfs_period_us"), "100000\n");
    tree.write(&format!("cpu/app/{child}/cpu.stat"), stat);
}

#[test]
fn without_an_own_quota_those_of_the_children_are_summed_while_they_come_and_go() {
    let tree = Tree::new(&[("cpuacct/app/cpuacct.usage", "1\n")]);
    quota(&tree, ".", "-1\n", "nr_periods 0\nnr_throttled 0\nthrottled_time 0\n");
    quota(&tree, "one", "20000\n", "nr_periods 10\nnr_throttled 4\nthrottled_time 5000\n");
    quota(&tree, "two", "30000\n", "nr_periods 6\nnr_throttled 1\nthrottled_time 1000\n");
    quota(&tree, "pause", "-1\n", "nr_periods 0\n");
    let (mut cgroup, mut reader) = (Cgroup::given(tree.path(), Path::new("/app")).unwrap(), Reader::default());
    let mut read = || {
        reader.begin();
        reading(&mut cgroup, &mut reader).unwrap()
    };
    let before = read();
    assert_eq!(before.whole.cpu_quota, Some(Millicores(500)));
    quota(&tree, "one", "20000\n", "nr_periods 15\nnr_throttled 6\nthrottled_time 8000\n");
    let sample = read().since(&before);
    let throttling =
        |sample: &ResourceSample| (sample.cpu_periods, sample.cpu_throttled_periods, sample.cpu_throttled_us);
    assert_eq!(throttling(&sample), (Some(5), Some(2), Some(3)));
    // Past the samples that look in any case, so that the count of children has to tell.
    let before = (0..20).map(|_| read()).last().unwrap();
    quota(&tree, "three", "100000\n", "nr_periods 2\nnr_throttled 1\nthrottled_time 4000\n");
    let now = read();
    assert_eq!(
        (now.whole.cpu_quota, throttling(&now.since(&before))),
        (Some(Millicores(1500)), (Some(2), Some(1), Some(4)))
    );
    std::fs::remove_dir_all(tree.path().join("cpu/app/two")).unwrap();
    assert_eq!(read().whole.cpu_quota, Some(Millicores(1200)));
    quota(&tree, ".", "70000\n", "nr_periods 3\n");
    let own = read();
    assert_eq!((own.whole.cpu_quota, own.parts.len()), (Some(Millicores(700)), 0), "an own quota is what holds");
}

#[test]
fn v2_children_tell_their_quotas_but_not_their_use_again() {
    let tree = v2_tree("app");
    tree.write("cgroup.controllers", "cpu memory\n");
    tree.write("app/cpu.max", "max 100000\n");
    tree.write("app/worker/cgroup.controllers", "\n");
    tree.write("app/worker/cpu.stat", "usage_usec 400\nnr_periods 9\nnr_throttled 2\nthrottled_usec 5\n");
    tree.write("app/worker/cpu.max", "20000 100000\n");
    let (mut cgroup, mut reader) = (Cgroup::given(tree.path(), Path::new("/app")).unwrap(), Reader::default());
    let before = reading(&mut cgroup, &mut reader).unwrap();
    tree.write("app/cpu.stat", "usage_usec 600\nnr_periods 0\n");
    tree.write("app/worker/cpu.stat", "usage_usec 500\nnr_periods 12\nnr_throttled 2\nthrottled_usec 5\n");
    let sample = reading(&mut cgroup, &mut reader).unwrap().since(&before);
    assert_eq!((sample.cpu_us, sample.cpu_periods, sample.cpu_quota), (Some(100), Some(3), Some(Millicores(200))));
}

#[test]
fn a_controller_that_comes_later_is_found_and_a_cgroup_without_files_is_gone() {
    let tree = Tree::new(&[("cpuacct/app/cpuacct.usage", "1\n")]);
    let (mut cgroup, mut reader) = (Cgroup::given(tree.path(), Path::new("/app")).unwrap(), Reader::default());
    reader.begin();
    assert_eq!(reading(&mut cgroup, &mut reader).unwrap().whole.memory, None);
    tree.write("memory/app/memory.usage_in_bytes", "42\n");
    reader.begin();
    assert_eq!(reading(&mut cgroup, &mut reader).unwrap().whole.memory, Some(Bytes(42)));
    empty(tree.path());
    reader.begin();
    assert!(reading(&mut cgroup, &mut reader).is_none());
}

#[test]
fn a_path_stays_below_the_root() {
    assert_eq!(below(Path::new("/root"), Path::new("/app")), PathBuf::from("/root/app"));
    assert_eq!(below(Path::new("/root"), Path::new("app")), PathBuf::from("/root/app"));
}
