//! Pages for a browser: what the JSON pages say, as plots. All of it is in the program; nothing is
//! loaded from anywhere else, and the `Content-Security-Policy` makes sure of that.

/// What a page may do: load this origin's own files, and read its JSON. No inline script, no
/// style in attributes, no frame around it, and nowhere to send anything. So a name from a
/// configuration that a page showed as markup by mistake would still do nothing.
pub const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                          connect-src 'self'; img-src 'self'; base-uri 'none'; \
                          form-action 'none'; frame-ancestors 'none'";

/// One file of the site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File {
    /// Where it is asked for.
    pub path: &'static str,
    /// Its `Content-Type`.
    pub content_type: &'static str,
    /// What it says.
    pub text: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const ICON: &str = "image/svg+xml";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! file {
    ($path:literal, $content_type:expr, $name:literal) => {
        File {
            path: $path,
            content_type: $content_type,
            text: include_str!(concat!("site/", $name)),
        }
    };
}

/// A page: what all of them begin with, its title, its scripts, and what it shows.
macro_rules! page {
    ($path:literal, $title:literal, [$($script:literal)?], $name:literal) => {
        File {
            path: $path,
            content_type: HTML,
            text: concat!(
                include_str!("site/head.html"),
                "<title>",
                $title,
                "</title>\n",
                $("<script type=\"module\" src=\"", $script, "\"></script>\n",)?
                "</head>\n",
                include_str!(concat!("site/", $name)),
            ),
        }
    };
}

/// The whole site.
pub const FILES: [File; 8] = [
    page!("/", "srpd", [], "index.html"),
    page!(
        "/dashboard",
        "srpd: dashboard",
        ["/site/dashboard.js"],
        "dashboard.html"
    ),
    page!(
        "/market",
        "srpd: market",
        ["/site/market.js"],
        "market.html"
    ),
    file!("/site/icon.svg", ICON, "icon.svg"),
    file!("/site/style.css", CSS, "style.css"),
    file!("/site/plot.js", SCRIPT, "plot.js"),
    file!("/site/dashboard.js", SCRIPT, "dashboard.js"),
    file!("/site/market.js", SCRIPT, "market.js"),
];

/// The file at a path.
pub fn file(path: &str) -> Option<File> {
    FILES.into_iter().find(|file| file.path == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
        let begin = format!(" {name}=\"");
        let values = text.split(begin.as_str()).skip(1);
        values.filter_map(|rest| rest.split('"').next()).collect()
    }

    #[test]
    fn pages_load_what_is_there_and_nothing_else() {
        for page in FILES.iter().filter(|file| file.content_type == HTML) {
            let linked = [attribute(page.text, "src"), attribute(page.text, "href")].concat();
            assert!(!linked.is_empty(), "{}", page.path);
            for link in linked {
                let json = ["/metrics", "/readyz", "/healthz"].contains(&link);
                let known = json || link.starts_with("/srp/v1/") || file(link).is_some();
                assert!(known, "{}: {link}", page.path);
            }
        }
    }

    #[test]
    fn nothing_is_there_that_the_policy_forbids_or_that_makes_markup_of_names() {
        for file in FILES {
            // The name of SVG's elements looks like a URL; nobody follows it.
            let text = file.text.replace("http://www.w3.org/2000/svg", "");
            for forbidden in [
                "://",
                "<style",
                " style=",
                "<script>",
                "javascript:",
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "new Function",
            ] {
                assert!(!text.contains(forbidden), "{}: {forbidden}", file.path);
            }
            // onclick="…" and its like.
            let handler = text.split(" on").skip(1).any(|rest| {
                let word = rest.trim_start_matches(|it: char| it.is_ascii_lowercase());
                word.starts_with("=\"")
            });
            assert!(!handler, "{}", file.path);
        }
    }
}
