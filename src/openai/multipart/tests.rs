//! Forms: one `model`, wherever it stands, and nothing that two readers could read in two ways.

use proptest::prelude::*;

use super::*;
use crate::openai::error::ErrorCode;

const TYPE: &[u8] = b"multipart/form-data; boundary=xyz";
const AUDIO: &str = "Content-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\
                     Content-Type: audio/wav\r\n\r\nRIFF\r\n\r\n--xy\0\"model\"";

fn field(name: &str, value: &str) -> String {
    format!("Content-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}")
}

fn form(parts: &[&str]) -> String {
    let parts: String = parts.iter().map(|p| format!("--xyz\r\n{p}\r\n")).collect();
    parts + "--xyz--\r\n"
}

/// Probes a form, whole and in pieces: there must be no difference.
fn probe(body: &str) -> Result<FormProbe<'_>, ProbeError> {
    probe_bytes(body.as_bytes())
}

fn probe_bytes(body: &[u8]) -> Result<FormProbe<'_>, ProbeError> {
    let probed = probe_form(TYPE, body);
    for size in [1, 2, 5, 100] {
        let mut prober = FormProber::new(TYPE).unwrap();
        let mut ends = (0..body.len()).step_by(size);
        let looked = ends.try_for_each(|end| prober.look(&body[..end]));
        let pieces = looked.and_then(|()| prober.finish(body));
        assert_eq!(
            pieces,
            probed,
            "in pieces of {size}: {}",
            body.escape_ascii()
        );
    }
    probed
}

fn is_malformed<T>(result: Result<T, ProbeError>) -> bool {
    matches!(result, Err(ProbeError::MalformedForm { .. }))
}

#[test]
fn the_model_is_found_wherever_it_stands() {
    let (model, prompt) = (field("model", "whisper"), field("prompt", "the model"));
    for parts in [
        [&model, AUDIO, &prompt],
        [AUDIO, &model, &prompt],
        [&prompt, AUDIO, &model],
    ] {
        let body = form(&parts);
        let found = probe(&body).unwrap();
        assert_eq!(found.model_name, "whisper");
        assert_eq!(&body[found.model], "whisper");
    }
    let plain = "content-disposition:form-data;name=model\r\n\r\nwhisper";
    assert_eq!(probe(&form(&[plain])).unwrap().model_name, "whisper");
    assert_eq!(
        probe(form(&[&model]).trim_end()).unwrap().model_name,
        "whisper"
    );
}

#[test]
fn content_types_name_one_boundary() {
    let body = form(&[&field("model", "m")]);
    for good in [
        "multipart/form-data; boundary=xyz",
        "Multipart/Form-Data;BOUNDARY=\"xyz\"",
        "multipart/form-data; charset=utf-8; boundary=xyz ",
        "multipart/form-data; boundary=xyz;charset=\"a;b\"",
    ] {
        assert!(
            probe_form(good.as_bytes(), body.as_bytes()).is_ok(),
            "{good}"
        );
    }
    for other in [
        "",
        "application/json",
        "multipart/mixed; boundary=xyz",
        "multipart/form-datax",
    ] {
        let error = probe_form(other.as_bytes(), body.as_bytes()).unwrap_err();
        assert_eq!(error, ProbeError::NotAForm, "{other}");
        assert_eq!(error.code(), ErrorCode::UnsupportedMediaType);
    }
    for bad in [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=xyz; boundary=abc",
        "multipart/form-data; boundary=xyz; boundary*=xyz",
        "multipart/form-data; boundary=xyz, boundary=abc",
        "multipart/form-data; boundary=\"xyz",
        "multipart/form-data; boundary=x\"yz",
        "multipart/form-data; boundary =xyz",
        "multipart/form-data boundary=xyz",
    ] {
        let result = probe_form(bad.as_bytes(), body.as_bytes());
        assert!(result.is_err(), "{bad}");
    }
    let long = format!("multipart/form-data; boundary={}", "x".repeat(71));
    assert!(is_malformed(probe_form(long.as_bytes(), body.as_bytes())));
}

#[test]
fn one_model_and_one_only() {
    let model = field("model", "m");
    let ambiguous = Err(ProbeError::Ambiguous { key: "model" });
    for other in [
        "model", "Model", "MODEL", "model[]", " model", "mod\\el", "mod%65l",
    ] {
        let body = form(&[&model, &field(other, "n")]);
        assert_eq!(probe(&body), ambiguous, "{other}");
    }
    let coded = format!("Content-Transfer-Encoding: base64\r\n{model}");
    assert_eq!(probe(&form(&[&coded])), ambiguous);
    assert_eq!(probe(&form(&[AUDIO])), Err(ProbeError::MissingModel));
    assert_eq!(probe("--xyz--"), Err(ProbeError::MissingModel));
    let file = "Content-Disposition: form-data; name=\"model\"; filename=\"m\"\r\n\r\nm";
    assert_eq!(probe(&form(&[file])), Err(ProbeError::ModelNotString));
    assert_eq!(
        probe(&form(&[&field("model", "a\nb")])),
        Err(ProbeError::ModelNotString)
    );
}

#[test]
fn what_some_parsers_forgive_is_refused() {
    let model = field("model", "m");
    let good = form(&[&model]);
    for bad in [
        String::new(),
        format!("preamble\r\n{good}"),
        format!("\r\n{good}"),
        format!("{good}epilogue"),
        good.replace("--xyz--", ""),
        good.replace("--xyz--", "--xyz"),
        good.replace("\r\n", "\n"),
        good.replace("--xyz\r\n", "--xyz \r\n"),
        good.replace("m\r\n--xyz--", "m\n--xyz--"),
        form(&[&model, &field("a", "x\n--xyz\ny")]),
        form(&[&model, &field("a", "x--xyz--")]),
        form(&["no fields"]),
        form(&["\r\nno fields"]),
        form(&["Content-Type: text/plain\r\n\r\nm"]),
        form(&["Content-Disposition: attachment; name=\"model\"\r\n\r\nm"]),
        form(&["Content-Disposition: form-data\r\n\r\nm"]),
        form(&["Content-Disposition: form-data; Name=\"model\"\r\n\r\nm"]),
        form(&["Content-Disposition: form-data; a=b\"c; name=\"model\"\r\n\r\nm"]),
        form(&["Content-Disposition: form-data; a=b; name=\"model\"\r\n\r\nm"]),
        form(&["Content-Disposition: form-data; names=b; name=\"model\"\r\n\r\nm"]),
        form(&["Content-Disposition: form-data; filename=\"; name=a\"; name=\"b\"\r\n\r\nm"]),
        form(&["Content-Disposition: form-data; name= \"model\"\r\n\r\nm"]),
        form(&["Content-Disposition: form-data;\r\n name=\"model\"\r\n\r\nm"]),
        form(&["Content-Disposition : form-data; name=\"model\"\r\n\r\nm"]),
        form(&["Content-Disposition: form-data; name=\"model\"; name=\"a\"\r\n\r\nm"]),
        form(&["Content-Disposition: form-data; name=\"a\"; name*=utf-8''model\r\n\r\nm"]),
        form(&["Content-Disposition: form-data; name=\"a\" model\r\n\r\nm"]),
        form(&["Content-Disposition: form-data; name=\"a\"\nX: y\r\n\r\nm"]),
        form(&[&format!(
            "Content-Disposition: form-data; name=\"a\"\r\n{model}"
        )]),
        form(&[&format!(
            "X: {}\r\n{model}",
            "x".repeat(PART_HEAD_BYTES_MAX)
        )]),
    ] {
        let result = probe(&bad);
        assert!(is_malformed(result.clone()), "{bad:?}: {result:?}");
        assert_eq!(result.unwrap_err().code(), ErrorCode::BadRequest);
    }
}

#[test]
fn the_model_has_a_length() {
    let model = |bytes| probe(&form(&[&field("model", &"m".repeat(bytes))])).map(|_| ());
    assert_eq!(model(1024), Ok(()));
    assert_eq!(model(1025), Err(ProbeError::ModelTooLong));
}

proptest! {
    #[test]
    fn no_bytes_are_too_strange(
        body in prop::collection::vec(prop::sample::select(
            b"--xyz\r\n\r\n\"model;=: name\\%\0\xff".as_slice()), 0..200),
        content_type in prop::collection::vec(prop::sample::select(
            b"boundary=\"xyz\";*, \\".as_slice()), 0..40),
    ) {
        let _ = probe_bytes(&body);
        let _ = probe_form(&content_type, &body);
        let _ = probe_form(&[b"multipart/form-data;".as_slice(), &content_type].concat(), &body);
        let head = b"--xyz\r\nContent-Disposition: form-data; ".as_slice();
        let _ = probe_bytes(&[head, &body, b"\r\n--xyz--"].concat());
    }

    #[test]
    fn contents_do_not_matter(
        contents in prop::collection::vec("[a-z\\-\r\n\"=;]{0,40}", 0..5),
        place: prop::sample::Index,
    ) {
        prop_assume!(contents.iter().all(|c| !c.contains("--xyz")));
        let mut parts: Vec<String> = contents.iter().map(|c| field("other", c)).collect();
        parts.insert(place.index(parts.len() + 1), field("model", "m"));
        let body = form(&parts.iter().map(String::as_str).collect::<Vec<_>>());
        prop_assert_eq!(probe(&body).unwrap().model_name, "m");
    }
}
