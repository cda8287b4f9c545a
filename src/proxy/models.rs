//! The capabilities that a key may use, in the shape of OpenAI's model list.

use super::reject::Rejection;
use crate::openai::{ErrorCode, write_json_string};
use crate::tables::Routes;
use crate::tables::routes::Key;

/// `GET /v1/models`: the capabilities that the key may use. Vendors' names appear nowhere.
pub fn list(routes: &Routes, key: &Key) -> Vec<u8> {
    let mut out = b"{\"object\":\"list\",\"data\":[".to_vec();
    let mut first = true;
    for (position, capability) in (0u16..).zip(&routes.capabilities) {
        if key.capabilities.contains(position) {
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            write_object(&mut out, &capability.name);
        }
    }
    out.extend_from_slice(b"]}");
    out
}

fn write_object(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b"{\"id\":");
    write_json_string(out, name);
    out.extend_from_slice(b",\"object\":\"model\",\"created\":0,\"owned_by\":\"srp\"}");
}

/// `GET /v1/models/{id}`.
pub fn one(routes: &Routes, key: &Key, id: &str) -> Result<Vec<u8>, Rejection> {
    let known = routes
        .by_name
        .get(id)
        .filter(|&&position| key.capabilities.contains(position));
    if known.is_none() {
        let rejection = Rejection::new(ErrorCode::ModelNotFound, "no such model");
        return Err(rejection.about("model"));
    }
    let mut out = Vec::with_capacity(128);
    write_object(&mut out, id);
    Ok(out)
}
