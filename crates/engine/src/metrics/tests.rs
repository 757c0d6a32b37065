use super::*;

fn value(metrics: &Metrics, series: &str) -> Option<f64> {
    let text = metrics.handle.render();
    let line = text.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
    line.and_then(|line| line.rsplit(' ').next()).map(|value| value.parse().unwrap())
}

fn metrics() -> Metrics {
    Metrics::new(Micros::from_secs(7))
}

#[test]
fn what_counts_begins_at_zero() {
    let metrics = metrics();
    for series in [
        "countersign_commits_total",
        "countersign_commit_conflicts_total",
        "countersign_held_calls",
        "countersign_logins_total{result=\"throttled\"}",
        "countersign_answers_total{factor=\"totp\",result=\"wrong\"}",
    ] {
        assert_eq!(value(&metrics, series), Some(0.0), "{series}");
    }
    assert_eq!(value(&metrics, "countersign_process_start_time_seconds"), Some(7.0));
}

#[test]
fn one_engine_does_not_count_into_another() {
    let (one, other) = (metrics(), metrics());
    one.conflict();
    assert_eq!(value(&one, "countersign_commit_conflicts_total"), Some(1.0));
    assert_eq!(value(&other, "countersign_commit_conflicts_total"), Some(0.0));
}

#[test]
fn what_a_caller_makes_up_is_no_label() {
    let metrics = metrics();
    metrics.http("BREW", None, Some(404), Duration::from_millis(3));
    metrics.http("BREW2", None, None, Duration::from_millis(3));
    let text = metrics.handle.render();
    assert!(!text.contains("BREW"), "{text}");
    let series =
        |status| format!("countersign_http_requests_total{{method=\"other\",path=\"none\",status=\"{status}\"}}");
    assert_eq!(value(&metrics, &series("4xx")), Some(1.0));
    assert_eq!(value(&metrics, &series("none")), Some(1.0));
}

#[test]
fn times_fall_into_their_buckets_also_after_upkeep() {
    let metrics = metrics();
    metrics.http("GET", Some("/x"), Some(200), Duration::from_millis(3));
    metrics.upkeep();
    metrics.http("GET", Some("/x"), Some(200), Duration::from_secs(70));
    let bucket = |le: &str| {
        let series =
            format!("countersign_http_request_duration_seconds_bucket{{method=\"GET\",path=\"/x\",le=\"{le}\"}}");
        value(&metrics, &series)
    };
    assert_eq!(
        (bucket("0.0025"), bucket("0.005"), bucket("60"), bucket("+Inf")),
        (Some(0.0), Some(1.0), Some(1.0), Some(2.0))
    );
}

#[test]
fn each_rejection_has_a_class_that_was_there_from_the_start() {
    let metrics = metrics();
    let all = [
        Rejection::Over("denied"),
        Rejection::OwnRequest,
        Rejection::NotEligible,
        Rejection::AlreadyAnswered,
        Rejection::NotNeeded,
        Rejection::OtherRequest,
        Rejection::WrongFactor,
        Rejection::UsedCode,
        Rejection::Cooling,
        Rejection::Relayed,
    ];
    let count = all.len();
    for rejection in all {
        metrics.answered::<()>(&Ok(Err(rejection)));
    }
    metrics.answered(&Ok(Ok(())));
    metrics.answered::<()>(&Err(EngineError::Closed));
    metrics.answered::<()>(&Err(EngineError::Busy));
    let counted: f64 = ANSWER_RESULTS
        .iter()
        .filter_map(|result| {
            value(&metrics, &format!("countersign_answers_total{{factor=\"totp\",result=\"{result}\"}}"))
        })
        .sum();
    assert!((counted - float(u64::try_from(count).unwrap() + 2)).abs() < f64::EPSILON, "{counted}");
    assert_eq!(metrics.handle.render().matches("countersign_answers_total{").count(), ANSWER_RESULTS.len());
}

/// A label value that somebody chose would show here: each label of each family has a closed set in this file.
#[test]
fn names_say_their_kind_and_unit() {
    for family in FAMILIES {
        let name = family.name;
        assert!(name.starts_with("countersign_"), "{name}");
        assert_eq!(family.kind == "counter", name.ends_with("_total"), "{name}");
        let unit = ["_total", "_info", "_seconds", "_bytes", "_up", "_calls", "_entries"];
        assert!(unit.iter().any(|unit| name.ends_with(unit)), "{name}");
        assert!(family.help.ends_with('.'), "{name}");
    }
}
