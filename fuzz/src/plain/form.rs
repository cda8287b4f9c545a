//! Forms (RFC 7578) as a forgiving reader has them: bare line feeds end lines, a preamble is
//! skipped, white space behind a delimiter doesn't matter, names are read in any case.

/// A field of a form.
#[derive(Debug)]
pub struct Field {
    pub name: Vec<u8>,
    pub content: Vec<u8>,
}

/// Every field that some part of the body may be taken for.
pub fn fields(boundary: &[u8], body: &[u8]) -> Vec<Field> {
    let delimiter = [b"--", boundary].concat();
    let mut fields = Vec::new();
    let mut part: Option<Vec<&[u8]>> = None;
    for line in body.split_inclusive(|&byte| byte == b'\n') {
        let Some(behind) = line.strip_prefix(&delimiter[..]) else {
            if let Some(lines) = &mut part {
                lines.push(line);
            }
            continue;
        };
        let text = behind.trim_ascii();
        if !text.is_empty() && text != b"--" {
            if let Some(lines) = &mut part {
                lines.push(line);
            }
            continue;
        }
        if let Some(lines) = part.take() {
            fields.extend(field(&lines));
        }
        if text.is_empty() {
            part = Some(Vec::new());
        } else {
            break;
        }
    }
    fields
}

fn field(lines: &[&[u8]]) -> Option<Field> {
    let blank = lines.iter().position(|line| line.trim_ascii().is_empty())?;
    let (head, content) = lines.split_at(blank);
    let mut content = content[1..].concat();
    // The line end in front of a delimiter belongs to it.
    if content.ends_with(b"\n") {
        content.pop();
        if content.ends_with(b"\r") {
            content.pop();
        }
    }
    let named = head.iter().find_map(|line| name(line))?;
    Some(Field {
        name: named,
        content,
    })
}

/// The `name` parameter of a content disposition.
fn name(line: &[u8]) -> Option<Vec<u8>> {
    let lower = line.to_ascii_lowercase();
    let value = lower.strip_prefix(b"content-disposition")?;
    let value = value.trim_ascii_start().strip_prefix(b":")?;
    let parameters = value.split(|&byte| byte == b';').skip(1);
    parameters
        .filter_map(|parameter| parameter.trim_ascii().strip_prefix(b"name"))
        .find_map(|rest| rest.trim_ascii_start().strip_prefix(b"="))
        .map(|text| {
            let text = text.trim_ascii();
            let inner = text.strip_prefix(b"\"").and_then(|t| t.strip_suffix(b"\""));
            inner.unwrap_or(text).trim_ascii().to_vec()
        })
}
