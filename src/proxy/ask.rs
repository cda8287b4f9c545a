//! From the body of a request to what is asked for: the capability, and where lies what may change on
//! its way to a provider.

use super::body::Probing;
use super::edits::Sites;
use super::intake::Intake;
use super::reject::Rejection;
use super::supply::of_tier;
use crate::market::Supply;
use crate::openai::{
    BodyKind, ErrorCode, FormProbe, find_member, probe, probe_form, with_include_usage,
};
use crate::tables::Routes;
use crate::tables::routes::Capability;

/// What the body of a request says.
pub struct Ask<'b> {
    /// What it asks for.
    pub capability: &'b Capability,
    /// What may change on the way to a provider.
    pub sites: Sites<'b>,
    /// Whether the answer shall be a stream.
    pub stream: bool,
    /// What its `service_tier` stands for.
    pub tier: Option<Supply>,
    /// The event that only tells the usage is taken out again.
    pub strip_usage: bool,
}

/// Reads what routing needs, and nothing else.
///
/// # Errors
/// A body that can't be routed, or a capability that the key has not.
pub fn read_body<'b>(
    routes: &'b Routes,
    intake: &Intake,
    body: &'b [u8],
    probing: Option<Box<Probing>>,
) -> Result<Ask<'b>, Rejection> {
    let probed = match (probing.map(|begun| *begun), intake.operation.body()) {
        (None, BodyKind::Json) => probe(body)?,
        (Some(Probing::Json(prober)), _) => prober.finish(body)?,
        (None, BodyKind::Multipart) => {
            let form = probe_form(&intake.content_type, body)?;
            return read_form(routes, intake, form);
        }
        (Some(Probing::Form(prober)), _) => {
            return read_form(routes, intake, prober.finish(body)?);
        }
    };
    let capability = capability(routes, intake, &probed.model_name)?;
    let mut options = None;
    let mut strip_usage = false;
    if probed.stream && intake.operation.streams_usage() {
        let value = probed.stream_options.clone();
        let (new, asked) = with_include_usage(value.clone().map(|range| &body[range]))?;
        if !asked {
            let open = probed.object_open..probed.object_open;
            let missing = value.is_none();
            options = Some((value.unwrap_or(open), new, missing));
            strip_usage = true;
        }
    }
    let tier = probed
        .service_tier
        .clone()
        .map(|at| of_tier(&body[at]))
        .transpose()?;
    let priority = match capability.tells_priority && intake.operation.has_priority() {
        true => find_member(body, "priority")?,
        false => None,
    };
    Ok(Ask {
        capability,
        sites: Sites {
            model: probed.model,
            form: false,
            options,
            open: probed.object_open,
            service_tier: probed.service_tier,
            priority,
            operation: intake.operation,
        },
        stream: probed.stream,
        tier: tier.flatten(),
        strip_usage,
    })
}

fn read_form<'b>(
    routes: &'b Routes,
    intake: &Intake,
    form: FormProbe<'b>,
) -> Result<Ask<'b>, Rejection> {
    Ok(Ask {
        capability: capability(routes, intake, &form.model_name)?,
        sites: Sites {
            model: form.model,
            form: true,
            options: None,
            open: 0,
            service_tier: None,
            priority: None,
            operation: intake.operation,
        },
        stream: false,
        tier: None,
        strip_usage: false,
    })
}

fn capability<'r>(
    routes: &'r Routes,
    intake: &Intake,
    name: &str,
) -> Result<&'r Capability, Rejection> {
    let found = routes
        .by_name
        .get(name)
        .and_then(|&position| Some((position, routes.capabilities.get(usize::from(position))?)));
    let Some((position, capability)) = found else {
        let message = "no such model: GET /v1/models lists those that this key may use";
        return Err(Rejection::new(ErrorCode::ModelNotFound, message).about("model"));
    };
    if !intake.key.capabilities.contains(position) {
        let message = format!("this key may not use the model {}", capability.name);
        return Err(Rejection::new(ErrorCode::CapabilityNotAllowed, message).about("model"));
    }
    Ok(capability)
}
