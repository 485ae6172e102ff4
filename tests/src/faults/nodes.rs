//! PostgreSQL on two machines, which are network namespaces: a primary and a
//! synchronous standby under Patroni, with etcd and `HAProxy` beside them.
//!
//! With two machines, a primary that lost its standby goes on without one; it
//! waits for a standby again as soon as there is one.
//!
//! `HAProxy` leads to whichever is primary, as the engine's driver knows one
//! address only, and ends the connections of one that no longer is.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::time::Instant;

use super::machine::{run, shell, text};
use super::pause;

/// The bridge that etcd and `HAProxy` are on.
const HERE: &str = "10.77.0.254";
const PATIENCE: Duration = Duration::from_mins(2);

/// A machine of its own.
#[derive(Debug)]
pub struct Node {
    /// Its name, which is that of its namespace.
    pub name: &'static str,
    /// Its address.
    pub address: &'static str,
    patroni: Option<Child>,
}

/// Two machines, and what leads to them.
#[derive(Debug)]
pub struct Nodes {
    /// Both.
    pub nodes: Vec<Node>,
    helpers: Vec<Child>,
    files: tempfile::TempDir,
    http: reqwest::Client,
}

impl Nodes {
    /// Makes the machines, and waits until there is a primary with its standby.
    pub async fn start() -> Result<Self> {
        let files = tempfile::Builder::new().prefix("taskflow-nodes-").tempdir()?;
        run("chmod", &["755", text(files.path())?])?;
        shell(
            "mkdir -p /run/netns; mount -t tmpfs tmpfs /run/netns
            ip link set lo up; ip link add tfbr type bridge; ip address add $1/24 dev tfbr; ip link set tfbr up",
            &[HERE],
        )
        .context("network namespaces are made by root; run it through scripts/faults")?;
        let http = crate::process::client()?;
        let mut all = Self { nodes: Vec::new(), helpers: Vec::new(), files, http };
        all.start_etcd()?;
        for (name, address) in [("tfa", "10.77.0.1"), ("tfb", "10.77.0.2")] {
            let mut node = Node { name, address, patroni: None };
            node.connect()?;
            all.configure(&node)?;
            node.start(all.files.path())?;
            all.nodes.push(node);
        }
        all.start_haproxy()?;
        all.healthy().await?;
        Ok(all)
    }

    /// The URL of whichever is primary.
    pub fn url(&self) -> String {
        "postgres://postgres@127.0.0.1:5000/postgres".to_owned()
    }

    /// Which of both is primary, by its own word.
    pub async fn primary(&self) -> Option<usize> {
        for (index, node) in self.nodes.iter().enumerate() {
            if self.says(node, "primary").await {
                return Some(index);
            }
        }
        None
    }

    async fn says(&self, node: &Node, role: &str) -> bool {
        let question = self.http.get(format!("http://{}:8008/{role}", node.address));
        let answer = question.timeout(Duration::from_secs(2)).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// Waits until there is a primary, and a standby that it waits for.
    pub async fn healthy(&self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        let mut last = Value::Null;
        loop {
            if let Some(primary) = self.primary().await
                && self.says(&self.nodes[1 - primary], "synchronous").await
            {
                return Ok(());
            }
            for node in &self.nodes {
                if let Ok(answer) =
                    self.http.get(format!("http://{}:8008/cluster", node.address)).send().await
                {
                    last = answer.json().await.unwrap_or_default();
                }
            }
            ensure!(Instant::now() < until, "no primary with a synchronous standby: {last}\n{}", self.logs());
            pause(Duration::from_millis(300)).await;
        }
    }

    /// The ends of the logs.
    pub fn logs(&self) -> String {
        let script = "cd \"$1\"; for log in *.log; do echo \"== $log\"; tail -n 15 $log; done";
        text(self.files.path()).and_then(|place| shell(script, &[place])).unwrap_or_default()
    }

    /// Starts Patroni again on a machine where everything was killed.
    pub fn restart(&mut self, index: usize) -> Result<()> {
        self.nodes[index].start(self.files.path())
    }

    fn start_etcd(&mut self) -> Result<()> {
        let client = format!("http://{HERE}:2379");
        let data = self.files.path().join("etcd");
        let mut etcd = Command::new("etcd");
        etcd.args(["--data-dir", text(&data)?, "--listen-client-urls", &client]);
        etcd.args(["--advertise-client-urls", &client, "--listen-peer-urls", "http://127.0.0.1:2380"]);
        self.helpers.push(logged(&mut etcd, self.files.path(), "etcd")?);
        Ok(())
    }

    fn start_haproxy(&mut self) -> Result<()> {
        let mut lines = String::from(
            "global\n  maxconn 500\ndefaults\n  mode tcp\n  timeout connect 2s\n  timeout client 1h\n  \
             timeout server 1h\n  timeout check 1s\nlisten primary\n  bind 127.0.0.1:5000\n  \
             option httpchk GET /primary\n  http-check expect status 200\n  \
             default-server inter 1s fall 2 rise 1 on-marked-down shutdown-sessions\n",
        );
        for node in &self.nodes {
            let _ = writeln!(lines, "  server {} {}:5432 check port 8008", node.name, node.address);
        }
        let place = self.files.path().join("haproxy.cfg");
        fs::write(&place, lines)?;
        let mut haproxy = Command::new("haproxy");
        haproxy.args(["-db", "-f", text(&place)?]);
        self.helpers.push(logged(&mut haproxy, self.files.path(), "haproxy")?);
        Ok(())
    }

    fn configure(&self, node: &Node) -> Result<()> {
        let (name, address) = (node.name, node.address);
        let place = self.files.path().join(name);
        run("install", &["-d", "-o", "postgres", "-m", "700", text(&place)?])?;
        let bin = shell("ls -d /usr/lib/postgresql/*/bin | tail -n 1", &[])?;
        let (place, bin) = (place.display(), bin.trim());
        let lines = format!(
            "scope: taskflow
name: {name}
restapi: {{listen: '{address}:8008', connect_address: '{address}:8008'}}
etcd3: {{hosts: '{HERE}:2379'}}
bootstrap:
  dcs:
    ttl: 20
    loop_wait: 5
    retry_timeout: 5
    synchronous_mode: true
    postgresql:
      use_pg_rewind: true
      parameters: {{max_connections: 200, wal_log_hints: 'on', shared_buffers: 64MB}}
  initdb: [encoding: UTF8, data-checksums, {{auth: trust}}]
  pg_hba: ['host all all 0.0.0.0/0 trust', 'host replication all 0.0.0.0/0 trust', 'local all all trust']
postgresql:
  listen: '{address}:5432'
  connect_address: '{address}:5432'
  data_dir: {place}/data
  bin_dir: {bin}
  pgpass: {place}/pgpass
  parameters: {{unix_socket_directories: '{place}'}}
  authentication:
    superuser: {{username: postgres, password: none}}
    replication: {{username: replicator, password: none}}
    rewind: {{username: rewinder, password: none}}
"
        );
        fs::write(self.files.path().join(format!("{name}.yml")), lines)?;
        Ok(())
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            let _ = node.end();
            let _ = run("ip", &["netns", "delete", node.name]);
        }
        for helper in &mut self.helpers {
            let _ = helper.kill();
            let _ = helper.wait();
        }
        let _ = run("ip", &["link", "delete", "tfbr"]);
    }
}

impl Node {
    fn connect(&self) -> Result<()> {
        let script = "ip netns add $1; ip link add $1-out type veth peer name eth0 netns $1
            ip link set $1-out master tfbr up
            ip -n $1 link set lo up; ip -n $1 link set eth0 up; ip -n $1 address add $2/24 dev eth0";
        shell(script, &[self.name, self.address]).map(drop)
    }

    fn start(&mut self, files: &Path) -> Result<()> {
        let configuration = files.join(format!("{}.yml", self.name));
        let mut patroni = Command::new("ip");
        patroni.args(["netns", "exec", self.name, "runuser", "-u", "postgres", "--", "patroni"]);
        patroni.arg(&configuration).current_dir("/");
        self.patroni = Some(logged(&mut patroni, files, self.name)?);
        Ok(())
    }

    fn signal(&self, signal: &str) -> Result<()> {
        // Some of them end with others before their turn comes.
        let script = "ip netns pids $1 | xargs -r kill -$2 || true";
        shell(script, &[self.name, signal]).map(drop)
    }

    /// Its power fails.
    pub fn end(&mut self) -> Result<()> {
        self.signal("KILL")?;
        if let Some(mut patroni) = self.patroni.take() {
            patroni.wait()?;
        }
        Ok(())
    }

    /// It stands still, or goes on.
    pub fn freeze(&self, frozen: bool) -> Result<()> {
        self.signal(if frozen { "STOP" } else { "CONT" })
    }

    /// Nothing reaches it or comes from it, and nobody says so.
    pub fn cut_off(&self, cut: bool) -> Result<()> {
        let script = if cut {
            "ip netns exec $1 nft -f - <<'RULES'
table inet cut {
  chain from { type filter hook input priority 0; iifname eth0 drop; }
  chain to { type filter hook output priority 0; oifname eth0 drop; }
}
RULES"
        } else {
            "ip netns exec $1 nft delete table inet cut"
        };
        shell(script, &[self.name]).map(drop)
    }
}

/// Starts a program whose output goes to a file.
fn logged(command: &mut Command, files: &Path, name: &str) -> Result<Child> {
    let log = fs::OpenOptions::new().create(true).append(true).open(files.join(format!("{name}.log")))?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.spawn().with_context(|| format!("cannot run {command:?}"))
}
