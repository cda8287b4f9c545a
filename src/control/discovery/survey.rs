//! Looking at sources: side by side, each for so long at most, and off the cores.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::resolver::{Answer, Resolver, Server};
use super::{FilePath, Source};
use crate::config::targets::{self, Pattern, Target};

/// How long one look may take before it counts as failed.
pub const LOOK_WITHIN: Duration = Duration::from_secs(10);

/// What a source says.
#[derive(Debug)]
pub enum Found {
    /// Each file of a pattern, and what is in it or wrong with it.
    Files(Vec<(FilePath, Result<Vec<Target>, String>)>),
    /// The servers of a service.
    Servers(Answer<Server>),
    /// The addresses of a name.
    Addresses(Answer<IpAddr>),
}

/// What became of one look, or why there is no answer.
#[derive(Debug)]
pub struct Finding {
    /// What was looked at.
    pub source: Source,
    /// What it says.
    pub result: Result<Found, String>,
}

/// Looks at sources. Names that come to light in files and services, and that aren't `looked_at`
/// already, are looked up too: so that a replica which takes another's place can be used at once.
pub async fn survey(
    sources: Vec<Source>,
    looked_at: Rc<BTreeSet<String>>,
    resolver: Rc<Resolver>,
    within: Duration,
) -> Vec<Finding> {
    let mut asked: BTreeSet<Source> = sources.iter().cloned().collect();
    let mut findings = look_at_all(sources, &resolver, within).await;
    let mut new = Vec::new();
    for host in findings.iter().flat_map(hosts) {
        let known = looked_at.contains(&host) || host.parse::<IpAddr>().is_ok();
        let source = Source::Name(host);
        if !known && asked.insert(source.clone()) {
            new.push(source);
        }
    }
    findings.extend(look_at_all(new, &resolver, within).await);
    findings
}

async fn look_at_all(
    sources: Vec<Source>,
    resolver: &Rc<Resolver>,
    within: Duration,
) -> Vec<Finding> {
    let mut looks = JoinSet::new();
    for source in sources {
        let resolver = Rc::clone(resolver);
        looks.spawn_local(async move {
            let look = look_at(&source, &resolver);
            let result = match tokio::time::timeout(within, look).await {
                Ok(result) => result,
                Err(_) => Err(format!("no answer within {within:?}")),
            };
            Finding { source, result }
        });
    }
    looks.join_all().await
}

async fn look_at(source: &Source, resolver: &Resolver) -> Result<Found, String> {
    match source {
        Source::Files(pattern) => read(pattern.clone()).await,
        Source::Service(name) => resolver.servers(name).await.map(Found::Servers),
        Source::Name(host) => resolver.addresses(host).await.map(Found::Addresses),
    }
}

/// In a helper thread: a file system may take its time.
async fn read(pattern: Pattern) -> Result<Found, String> {
    let read = tokio::task::spawn_blocking(move || targets::read(&pattern));
    let files = read.await.map_err(|error| error.to_string())?;
    let files = files.map_err(|error| error.to_string())?;
    let said = |(path, targets): (_, Result<_, targets::TargetsError>)| {
        (path, targets.map_err(|error| error.to_string()))
    };
    Ok(Found::Files(files.into_iter().map(said).collect()))
}

/// The hosts that a finding names.
fn hosts(finding: &Finding) -> Vec<String> {
    match &finding.result {
        Ok(Found::Files(files)) => {
            let targets = files
                .iter()
                .filter_map(|(_, targets)| targets.as_ref().ok());
            targets.flatten().map(|it| it.url.host.clone()).collect()
        }
        Ok(Found::Servers(answer)) => answer.records.iter().map(|it| it.host.clone()).collect(),
        Ok(Found::Addresses(_)) | Err(_) => Vec::new(),
    }
}
