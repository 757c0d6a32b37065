//! A kill cannot tell whether a change was on disk before its answer left: the kernel keeps what was written. The order of things can. Every verb that
//! changes state is called once, alone, from a port of its own, and each engine's test looks at what came first.

mod postgres;
mod sqlite;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::soak::home::{Home, session, token};
use crate::soak::http::Http;
use crate::soak::people::{Approver, Login};
use crate::support::{secret_of, two_codes_of};

/// A call that was answered.
#[derive(Debug)]
struct Sent {
    verb: &'static str,
    /// The client's, by which a trace knows the connection.
    port: u16,
    answer: Value,
}

/// A call of one verb.
struct Call<'a> {
    verb: &'static str,
    method: &'a str,
    path: &'a str,
    token: &'a str,
    body: Value,
}

/// Calls each verb. `before` comes before each call, and `sent` between the call and the reading of its answer.
fn every_verb(
    home: &Home,
    address: &str,
    before: impl Fn(&'static str),
    sent: impl Fn(TcpStream) -> TcpStream,
) -> Vec<Sent> {
    let mut all: Vec<Sent> = Vec::new();
    let mut call = |call: Call<'_>| -> Value {
        before(call.verb);
        let one = send(address, &call, &sent);
        let answer = one.answer.clone();
        all.push(one);
        answer
    };
    let post = |verb, path: &str, token: &str, body: Value| (verb, path.to_owned(), token.to_owned(), body);
    let mut go = |(verb, path, token, body): (&'static str, String, String, Value)| {
        call(Call { verb, method: "POST", path: &path, token: &token, body })
    };
    let mut http = Http::connect(address).unwrap();
    let mut log_in = |login: &Login| {
        let token = token(&session(&mut http, login).unwrap()).unwrap();
        Approver::new(login.clone(), token)
    };
    let mut alice = log_in(&home.people.requester);
    let mut bob = log_in(&home.people.approvers[0]);
    let mut admin = log_in(&home.people.administrator);

    let ask = |argument: &str| {
        json!({
            "action": "command.run", "target": "db-1", "reason": "the order of things",
            "parameters": {"argv": ["true", argument], "cwd": "/", "user": "alice"},
        })
    };
    let look = |request: &Value, token: &str| {
        let path = format!("/requests/{}", id(request));
        let call = crate::soak::http::Call { path: &path, token, ..Default::default() };
        Http::connect(address).unwrap().call(call).unwrap().json()
    };
    let proof = |request: &Value, by: &mut Approver| {
        let seen = look(request, &by.token);
        let code = by.fresh_code().unwrap().unwrap();
        json!({"challenge": seen["you"]["challenge"], "code": code, "digest": seen["digest"]})
    };
    let about = |request: &Value, verb: &str| format!("requests/{}/{verb}", id(request));

    // A request from its beginning to its end.
    let asked = go(post("ask", "requests", &alice.token, ask("one")));
    let answer = proof(&asked, &mut bob);
    let approved = go(post("approve", &about(&asked, "answer"), &bob.token, answer));
    assert_eq!(approved["stage"], "granted", "{approved}");
    let released = go(post("release", &about(&asked, "release"), &alice.token, json!({})));
    let release = released["release"].as_str().unwrap().to_owned();
    go(post("renew", &format!("releases/{release}/renew"), &alice.token, json!({})));
    go(post("report", &format!("releases/{release}/result"), &alice.token, json!({"outcome": "exit 0"})));

    // Its other ends.
    let asked = go(post("ask", "requests", &alice.token, ask("two")));
    go(post("deny", &about(&asked, "deny"), &bob.token, json!({})));
    let asked = go(post("ask", "requests", &alice.token, ask("three")));
    go(post("cancel", &about(&asked, "cancel"), &alice.token, json!({})));
    let asked = go(post("ask", "requests", &alice.token, ask("four")));
    let answer = proof(&asked, &mut bob);
    go(post("approve", &about(&asked, "answer"), &bob.token, answer));
    go(post("revoke", &about(&asked, "revoke"), &bob.token, json!({})));

    // Sessions and tokens.
    let words = json!({"name": home.people.requester.name, "password": home.people.requester.password});
    let other = go(post("login", "login", "", words));
    go(post("logout", "logout", other["token"].as_str().unwrap(), json!({})));
    let code = alice.fresh_code().unwrap().unwrap();
    go(post("prove", "session/fresh", &alice.token, json!({"code": code})));
    let token = json!({"name": "nightly", "scopes": ["command.*"], "ttl_secs": 86_400});
    let made = go(post("make a token", "tokens", &alice.token, token));

    // A new authenticator.
    let begun = go(post("enrol", "enroll/totp", &alice.token, json!({})));
    let codes = two_codes_of(&secret_of(begun["otpauth"].as_str().unwrap()));
    let path = format!("enroll/totp/{}", begun["authenticator"].as_str().unwrap());
    go(post("confirm an enrolment", &path, &alice.token, json!({"codes": codes})));

    // A change of the service itself.
    let change = json!({"change": {"kind": "group_add", "group": "local:order"}, "reason": "the order of things"});
    let asked = go(post("ask for a change", "admin", &admin.token, change));
    let answer = proof(&asked, &mut admin);
    let applied = go(post("confirm a change", &about(&asked, "answer"), &admin.token, answer));
    assert_eq!(applied["stage"], "granted", "{applied}");

    call(Call {
        verb: "end a token",
        method: "DELETE",
        path: &format!("tokens/{}", id(&made)),
        token: &alice.token,
        body: Value::Null,
    });
    all
}

fn send(address: &str, call: &Call<'_>, sent: &impl Fn(TcpStream) -> TcpStream) -> Sent {
    let Call { verb, method, path, token, body } = call;
    let stream = TcpStream::connect(address).unwrap();
    let port = stream.local_addr().unwrap().port();
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let credential = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
    let text = format!(
        "{method} /api/countersign/v1/{path} HTTP/1.1\r\nHost: {address}\r\n{credential}Connection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    (&stream).write_all(text.as_bytes()).unwrap();
    let mut stream = sent(stream);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 20"), "{verb}: {answer}");
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    Sent { verb, port, answer: serde_json::from_str(body).unwrap_or_default() }
}

fn id(view: &Value) -> &str {
    view["id"].as_str().unwrap()
}
