//! Lists that change under a manager that follows them.

use std::fs;
use std::path::Path;

use super::*;
use crate::manager::ManagerConfig;

struct Story {
    _dir: tempfile::TempDir,
    path: PathBuf,
    manager: Manager,
    discovery: Discovery,
}

impl Story {
    /// A manager that follows a file with this name and content; none where that is empty.
    fn begin(name: &str, content: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(name);
        if !content.is_empty() {
            fs::write(&path, content).expect("it is ours");
        }
        let manager = Manager::start(ManagerConfig::new("n1")).expect("it starts");
        let mut config = DiscoveryConfig::new(ListSource::File { path: path.clone() });
        config.pool = Some("web".into());
        let discovery = Discovery::start(&manager, config);
        Self {
            _dir: dir,
            path,
            manager,
            discovery,
        }
    }

    /// Waits until the list is as wanted.
    async fn until(&self, what: &str, wanted: impl FnMut(&DiscoveryInfo) -> bool) {
        until(&self.discovery, what, wanted).await;
    }

    fn workers(&self) -> Vec<String> {
        let streams = self.manager.list_streams().into_iter();
        streams.map(|it| it.worker_id.as_str().to_owned()).collect()
    }
}

async fn until(discovery: &Discovery, what: &str, wanted: impl FnMut(&DiscoveryInfo) -> bool) {
    let mut info = discovery.info.clone();
    let waited = tokio::time::timeout(Duration::from_secs(20), info.wait_for(wanted)).await;
    assert!(waited.is_ok(), "never {what}: {:?}", discovery.info());
}

fn list(targets: &[&str]) -> String {
    serde_json::json!([{ "targets": targets }]).to_string()
}

#[tokio::test]
async fn a_worker_is_registered_as_long_as_it_is_listed() {
    let story = Story::begin("list.json", "");
    story
        .until("missed", |info| {
            info.fault
                .as_ref()
                .is_some_and(|it| it.contains("cannot be read"))
        })
        .await;
    fs::write(&story.path, list(&["127.0.0.1:1", "127.0.0.1:2"])).expect("it is ours");
    story.until("two", |info| info.workers == 2).await;
    assert_eq!(story.workers(), ["web-127.0.0.1-1", "web-127.0.0.1-2"]);
    assert_eq!(story.discovery.info().fault, None);
    // As it should be written.
    let beside = story.path.with_extension("new");
    fs::write(&beside, list(&["127.0.0.1:2"])).expect("it is ours");
    fs::rename(&beside, &story.path).expect("it is ours");
    story.until("one", |info| info.workers == 1).await;
    assert_eq!(story.workers(), ["web-127.0.0.1-2"]);
    story.discovery.stop().await;
    assert!(story.manager.list_streams().is_empty());
}

#[tokio::test]
async fn what_is_empty_broken_or_gone_leaves_the_workers_of_the_last_good_list() {
    let story = Story::begin("list.yml", "- targets: ['127.0.0.1:1']\n");
    story.until("one", |info| info.workers == 1).await;
    let answered = story.discovery.info().answered_ns;
    assert!(answered.is_some());
    for (content, fault) in [
        ("[]\n", "it lists no worker"),
        ("- targets: [\n", "list.yml:"),
        (
            "- targets: [nowhere]\n",
            "no worker that could be dialled: \"nowhere\"",
        ),
    ] {
        fs::write(&story.path, content).expect("it is ours");
        story
            .until(fault, |info| {
                info.fault.as_ref().is_some_and(|it| it.contains(fault))
            })
            .await;
        assert_eq!(story.workers(), ["web-127.0.0.1-1"]);
    }
    fs::remove_file(&story.path).expect("it is there");
    story
        .until("gone", |info| {
            info.fault
                .as_ref()
                .is_some_and(|it| it.contains("cannot be read"))
        })
        .await;
    let info = story.discovery.info();
    assert_eq!((info.workers, info.answered_ns), (1, answered));
    fs::write(&story.path, "- targets: ['127.0.0.1:3']\n").expect("it is ours");
    story.until("mended", |info| info.fault.is_none()).await;
    story.until("one again", |info| info.workers == 1).await;
    assert_eq!(story.workers(), ["web-127.0.0.1-3"]);
}

#[tokio::test]
async fn a_list_behind_links_is_followed_when_a_link_is_replaced() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name);
    for (name, target) in [("1", "127.0.0.1:1"), ("2", "127.0.0.1:2")] {
        fs::create_dir(path(name)).expect("a directory");
        fs::write(path(name).join("list.json"), list(&[target])).expect("it is ours");
    }
    let link = |to: &str, name: &Path| std::os::unix::fs::symlink(to, name).expect("a link");
    // As volumes of Kubernetes have it.
    link("1", &path("..data"));
    link("..data/list.json", &path("list.json"));
    let manager = Manager::start(ManagerConfig::new("n1")).expect("it starts");
    let source = ListSource::File {
        path: path("list.json"),
    };
    let discovery = Discovery::start(&manager, DiscoveryConfig::new(source));
    let is_there = |id: &str| manager.stream(&id.into()).is_some();
    until(&discovery, "one", |info| info.workers == 1).await;
    assert!(is_there("127.0.0.1-1"));
    link("2", &path("new"));
    fs::rename(path("new"), path("..data")).expect("it is ours");
    until(&discovery, "the other", |_| is_there("127.0.0.1-2")).await;
}

#[tokio::test]
async fn what_is_no_file_keeps_nobody_waiting() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let story = Story::begin("list.json", &list(&["127.0.0.1:1"]));
    story.until("one", |info| info.workers == 1).await;
    let pipe = story.path.with_extension("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
    fs::rename(&pipe, &story.path).expect("it is ours");
    story
        .until("said", |info| {
            info.fault
                .as_ref()
                .is_some_and(|it| it.contains("it is no file"))
        })
        .await;
    assert_eq!(story.discovery.info().workers, 1);
}

#[tokio::test]
async fn the_addresses_of_a_name_are_workers() {
    let manager = Manager::start(ManagerConfig::new("n1")).expect("it starts");
    let source = ListSource::Dns {
        name: "localhost".into(),
        port: 7,
        interval: DEFAULT_DNS_INTERVAL,
    };
    let discovery = Discovery::start(&manager, DiscoveryConfig::new(source));
    assert_eq!(discovery.info().list, "localhost:7");
    until(&discovery, "resolved", |info| info.workers > 0).await;
    assert!(manager.stream(&"127.0.0.1-7".into()).is_some());
    discovery.stop().await;
}
