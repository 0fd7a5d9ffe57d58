use super::*;
use crate::sampler::testing::{Tree, cgroup_line, process};

fn read(processes: &mut Processes) -> Result<Reading, String> {
    let mut reader = Reader::default();
    reader.begin();
    let mut reading = Reading::default();
    match processes.read(&mut reader, &mut reading) {
        Ok(()) => Ok(reading),
        Err(Lost::Gone) => Err("gone".into()),
        Err(Lost::Unreadable(error)) => Err(error.to_string()),
    }
}

#[test]
fn the_own_process_is_read_and_one_that_is_gone_is_left_out() {
    let list = Tree::new(&[("pids", &format!("{}\n999999999\nnone\n-1\n", std::process::id()))]);
    let reading = read(&mut Processes::listed(Path::new("/proc"), list.path().join("pids"))).unwrap();
    assert_eq!(reading.parts.len(), 1);
    assert!(reading.whole.memory.unwrap().0 > 1 << 20);
    assert!(reading.whole.pids.unwrap() >= 1);
}

#[test]
fn no_process_is_no_use_and_no_file_is_a_failure() {
    let list = Tree::new(&[]);
    let file = list.path().join("pids");
    let mut processes = Processes::listed(Path::new("/proc"), file.clone());
    let error = read(&mut processes).unwrap_err();
    assert!(error.contains(&file.display().to_string()) && error.contains("a PID a line"), "{error}");
    list.write("pids", "");
    let reading = read(&mut processes).unwrap();
    assert_eq!(reading.since(&reading).cpu_us, Some(0));
}

#[test]
fn a_tree_holds_the_descendants_and_keeps_those_whose_parent_ends() {
    let tree = Tree::new(&[("uptime", "100.00 1.00\n")]);
    for (pid, children) in [(10, "11 12 "), (11, "13"), (12, ""), (13, ""), (20, "21")] {
        process(&tree, pid, 100, "0::/\n");
        tree.write(&format!("{pid}/task/{pid}/children"), children);
    }
    tree.write("11/task/15/children", "16\n");
    process(&tree, 16, 100, "0::/\n");
    let mut processes = Processes::tree(tree.path(), 10);
    let first = read(&mut processes).unwrap();
    let pids = |reading: &Reading| {
        reading.parts.keys().map(|part| if let Part::Process(pid, _) = part { *pid } else { 0 }).collect::<Vec<_>>()
    };
    assert_eq!(pids(&first), [10, 11, 12, 13, 16]);
    assert_eq!((first.whole.memory, first.whole.pids), (Some(Bytes(5 * 250 * procfs::page_size())), Some(5 * 3)));
    for pid in [10, 11] {
        // What the kernel answers once a process has ended.
        tree.write(&format!("{pid}/stat"), "");
        std::fs::remove_dir_all(tree.path().join(pid.to_string())).unwrap();
    }
    read(&mut processes).unwrap();
    assert_eq!(pids(&read(&mut processes).unwrap()), [12, 13, 16]);
    for pid in [12, 13, 16] {
        tree.write(&format!("{pid}/stat"), "");
        std::fs::remove_dir_all(tree.path().join(pid.to_string())).unwrap();
    }
    read(&mut processes).unwrap();
    assert!(read(&mut processes).unwrap_err().contains("process 10 has ended"));
}

#[test]
fn a_containers_processes_are_told_by_their_key_and_without_any_it_is_gone() {
    let tree = Tree::new(&[("uptime", "100.00 1.00\n")]);
    process(&tree, 7, 100, &cgroup_line(1));
    process(&tree, 8, 50, &cgroup_line(1));
    process(&tree, 9, 1, &cgroup_line(2));
    let key = membership_key(&cgroup_line(1));
    let mut processes = Processes::of_container(tree.path(), key);
    let before = read(&mut processes).unwrap();
    assert_eq!(before.parts.len(), 2);
    process(&tree, 7, 130, &cgroup_line(1));
    let sample = read(&mut processes).unwrap().since(&before);
    assert_eq!(sample.cpu_us, Some(30 * 1_000_000 / procfs::ticks_per_second()));
    assert_eq!((sample.io_read_bytes, sample.io_write_bytes), (Some(0), Some(0)));
    std::fs::remove_dir_all(tree.path().join("7")).unwrap();
    std::fs::remove_dir_all(tree.path().join("8")).unwrap();
    assert_eq!(read(&mut processes).unwrap_err(), "gone");
}

fn membership_key(text: &str) -> String {
    crate::sampler::discovery::membership::container_key(text).to_owned()
}

#[test]
fn a_processs_use_is_that_which_it_tells() {
    let mut child = std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    let mut processes = Processes::tree(Path::new("/proc"), pid);
    let before = read(&mut processes).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(400));
    let sample = read(&mut processes).unwrap().since(&before);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(sample.cpu_us.unwrap() >= 50_000, "busy for 400 ms: {sample:?}");
    assert!(read(&mut processes).is_ok(), "the sample in which it ends tells of none");
    assert!(read(&mut processes).unwrap_err().contains("has ended"));
}
