//! The words of a notification, for each kind of receiver. Pure.

use composed_core::model::{Notification, NotificationKind};
use crd_schema::settings::NotifyFormat;
use serde_json::json;

use super::delivery::Message;

/// Discord takes so many characters at most, Slack more.
const LONGEST: usize = 1900;

/// What is sent of an outcome. What others have written into it, such as the subject of a commit, is text only.
pub fn message(format: NotifyFormat, notice: &Notification, host: &str) -> Message {
    let json = |path, body: serde_json::Value| Message {
        path,
        headers: vec![("content-type", "application/json".to_owned())],
        body: body.to_string(),
    };
    let (title, text) = (title(notice), text(notice, host));
    let bad = notice.event != NotificationKind::Deployed;
    match format {
        NotifyFormat::Json => {
            let mut body = json!(notice);
            if let Some(body) = body.as_object_mut() {
                body.insert("host".to_owned(), json!(host));
                body.insert("text".to_owned(), json!(format!("{title}: {text}")));
            }
            json("", body)
        }
        NotifyFormat::Slack => {
            let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            let sign = if bad { ":x:" } else { ":white_check_mark:" };
            let text = format!("{sign} *{}*\n{}", escape(&title), escape(&text));
            // No link of theirs is fetched, and `@channel` without brackets is a text.
            json("", json!({"text": text, "link_names": false, "unfurl_links": false, "unfurl_media": false}))
        }
        NotifyFormat::Discord => {
            let sign = if bad { "\u{274c}" } else { "\u{2705}" };
            let (title, text) = (markdown(&title), markdown(&text));
            let content: String = format!("{sign} **{title}**\n{text}").chars().take(LONGEST).collect();
            json("", json!({"content": content, "allowed_mentions": {"parse": []}}))
        }
        NotifyFormat::Ntfy => Message {
            path: "",
            headers: vec![
                ("content-type", "text/plain; charset=utf-8".to_owned()),
                // Headers are ASCII: names of services are, too.
                ("title", title),
                ("priority", if bad { "high" } else { "default" }.to_owned()),
                ("tags", if bad { "x" } else { "white_check_mark" }.to_owned()),
            ],
            body: text,
        },
        NotifyFormat::Gotify => {
            json("/message", json!({"title": title, "message": text, "priority": if bad { 8 } else { 4 }}))
        }
    }
}

/// A text that Discord shows as it is: no link hides behind other words, no name is mentioned.
fn markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if "\\*_~`|<>[]()#@".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn title(notice: &Notification) -> String {
    let Notification { project, service, event, .. } = notice;
    let what = match event {
        NotificationKind::Deployed => "deployed",
        NotificationKind::Failed => "rollout failed",
        NotificationKind::HookFailed => "post_deploy failed",
        NotificationKind::Contended => "left alone",
    };
    format!("{project}/{service} {what}")
}

fn text(notice: &Notification, host: &str) -> String {
    let mut parts = vec![format!("revision {} ({})", notice.revision, notice.image)];
    if let Some(seconds) = notice.seconds.filter(|_| notice.event != NotificationKind::Contended) {
        parts.push(format!("after {seconds} s"));
    }
    if !host.is_empty() {
        parts.push(format!("on {host}"));
    }
    let mut text = parts.join(" ");
    if !notice.message.is_empty() {
        text += &format!(": {}", notice.message);
    }
    if let Some(goes_on) = &notice.goes_on {
        text += &format!("\nrevision {goes_on} goes on");
    }
    if let Some(commit) = &notice.commit {
        text += &format!("\nasked for by commit {commit}");
    }
    // Line ends are ours; anything else that is no character is nobody's.
    text.chars().filter(|c| !c.is_control() || *c == '\n').take(LONGEST).collect()
}
