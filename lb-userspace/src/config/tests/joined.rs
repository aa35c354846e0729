//! The file and the objects of the API as one configuration.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use serde_json::{Value as Json, json};

use crate::{
    config::{FileText, Joined, file_objects, join, join_what_fits, text::diagnostic::Errors},
    objects::{Kind, Object, ObjectId, Place},
};

const NODE: &str = "[node]\ninterfaces = ['eth0']\n";

fn file(text: &str) -> FileText {
    FileText { path: Path::new("/etc/lb/lb.toml").into(), text: format!("{NODE}{text}").into() }
}

fn object(kind: Kind, name: &str, body: Json) -> Arc<Object> {
    let Json::Object(body) = body else { panic!("not an object") };
    Arc::new(Object { id: ObjectId::new(kind, name), revision: 1, body })
}

/// A service of the API at `address`, with `more` keys.
fn service(name: &str, address: &str, more: Json) -> Arc<Object> {
    let mut body = json!({
        "name": name,
        "addresses": [address],
        "ports": [{"port": 80, "handlers": ["http"]}],
        "load_balancer": {"servers": [{"address": "10.0.0.1:8080", "weight": 3}]},
    });
    let Json::Object(more) = more else { panic!("not an object") };
    body.as_object_mut().unwrap().extend(more);
    object(Kind::Services, name, body)
}

fn in_file(name: &str, address: &str) -> String {
    format!(
        "[[services]]\nname = '{name}'\naddresses = ['{address}']\n\
         ports = [{{ port = 80, handlers = ['http'] }}]\n\
         load_balancer.servers = [{{ address = '10.0.0.9:80' }}]\n"
    )
}

fn joined(text: &str, objects: &[Arc<Object>]) -> Result<Joined, Errors> {
    join(&file(text), objects, |_, _| Vec::new())
}

fn names(joined: &Joined) -> Vec<&str> {
    joined.config.services.iter().map(|service| &*service.name).collect()
}

/// `pointer detail` of each violation.
fn violations(errors: &Errors) -> Vec<String> {
    let shown = errors.violations();
    shown.iter().map(|it| format!("{} {}", it.at, it.detail)).collect()
}

#[test]
fn objects_are_read_like_tables() {
    let text = in_file("ssh", "203.0.113.2");
    let with_pool = service("web", "203.0.113.1", json!({"load_balancer": null, "pool": "app"}));
    let pool = object(Kind::Pools, "app", json!({"servers": [{"address": "10.0.0.2:80"}]}));
    let certificate = object(Kind::Certificates, "a", json!({"cert": "/a.crt", "key": "/a.key"}));
    let joined = joined(&text, &[certificate, pool, with_pool]).unwrap();
    assert_eq!(names(&joined), ["ssh", "web"]);
    let toml = format!(
        "{NODE}{text}[[certificates]]\ncert = '/a.crt'\nkey = '/a.key'\n\
         [pools.app]\nservers = [{{ address = '10.0.0.2:80' }}]\n\
         [[services]]\nname = 'web'\naddresses = ['203.0.113.1']\npool = 'app'\n\
         ports = [{{ port = 80, handlers = ['http'] }}]\n"
    );
    assert_eq!(joined.config, super::valid(&toml));
}

#[test]
fn each_mistake_has_a_pointer_and_what_would_be_right() {
    let wrong = service(
        "web",
        "nowhere",
        json!({"ports": [{"port": 80}, {"port": 99999, "handlers": ["htp"]}], "hostname": "a/b~c"}),
    );
    let portless = service("b", "203.0.113.9", json!({"ports": null, "queue": {"length": 1.5}}));
    let errors = joined("", &[wrong, portless]).unwrap_err();
    assert_eq!(
        violations(&errors),
        [
            "api: services/web /addresses/0 `nowhere` is not an IP address",
            "api: services/web /hostname unknown key `hostname` in `services`",
            "api: services/web /ports/1/handlers/0 `htp` is not a value of `handlers`",
            "api: services/web /ports/1/port `port` must be a whole number from 1 to 65535, found 99999",
            "api: services/b `ports` is missing in `services`",
            "api: services/b /queue/length `length` must be a whole number from 0 to 1000000, found a number with a fraction",
        ]
    );
    let help: Vec<_> = errors.violations().into_iter().filter_map(|it| it.help).collect();
    assert!(help.contains(&"did you mean `hostnames`?".to_owned()), "{help:?}");
    let shown = errors.to_string();
    assert!(shown.contains("--> api: services/web:"), "{shown}");
    assert!(shown.contains("\"hostname\": \"a/b~c\""), "{shown}");
}

/// traefik/traefik#3617: what one provider has does not depend on another's.
#[test]
fn the_file_wins_and_what_it_shadows_comes_back() {
    let same_name = service("web", "203.0.113.7", json!({}));
    let same_place = service("other", "203.0.113.1", json!({}));
    let apart = service("apart", "203.0.113.8", json!({}));
    let objects = [apart, same_name, same_place];
    let both = joined(&in_file("web", "203.0.113.1"), &objects).unwrap();
    assert_eq!(names(&both), ["web", "apart"]);
    let shadowed: Vec<_> = both.shadowed.iter().map(|it| it.object.name.as_str()).collect();
    assert_eq!(shadowed, ["web", "other"]);
    for shadowed in &both.shadowed {
        let place = shadowed.by.conflicts_with.as_ref().unwrap().to_string();
        assert!(
            place.starts_with("/etc/lb/lb.toml:4:8") || place.starts_with("/etc/lb/lb.toml:5:")
        );
    }
    assert_eq!(names(&joined("", &objects).unwrap()), ["apart", "web", "other"]);
}

#[test]
fn a_shadowed_service_keeps_its_place_against_others_of_the_api() {
    let shadowed = service("web", "203.0.113.1", json!({}));
    let other = service("other", "203.0.113.1", json!({}));
    for text in [in_file("web", "203.0.113.5"), in_file("x", "203.0.113.1"), String::new()] {
        let errors = joined(&text, &[shadowed.clone(), other.clone()]).unwrap_err();
        assert_eq!(
            violations(&errors),
            ["api: services/other /addresses/0 every host name on 203.0.113.1:80/tcp already \
              belongs to service `web`"]
        );
    }
}

#[test]
fn a_pool_of_the_file_shadows_one_of_the_api() {
    let text = "[pools.app]\nservers = [{ address = '10.0.0.9:80' }]\n";
    let pool = object(Kind::Pools, "app", json!({"servers": [{"address": "10.0.0.2:80"}]}));
    let user = service("web", "203.0.113.1", json!({"load_balancer": null, "pool": "app"}));
    let joined = joined(text, &[pool, user]).unwrap();
    assert_eq!(joined.config.services[0].pool.servers[0].address.to_string(), "10.0.0.9:80");
    assert_eq!(joined.shadowed[0].object.to_string(), "pools/app");
}

#[test]
fn a_mistake_between_the_two_names_both() {
    let text = in_file("web", "203.0.113.1");
    let announced = service("other", "10.0.0.9", json!({}));
    let errors = joined(&text, &[announced]).unwrap_err();
    let violation = &errors.violations()[0];
    assert!(matches!(&violation.at, Place::File { .. }));
    assert!(violation.concerns(&ObjectId::new(Kind::Services, "other")));
    assert!(errors.to_string().contains("api: services/other:"), "{errors}");
}

#[test]
fn what_does_not_fit_is_left_out_if_it_may() {
    let good = service("good", "203.0.113.1", json!({}));
    let orphan = service("orphan", "203.0.113.2", json!({"load_balancer": null, "pool": "gone"}));
    let objects = [good, orphan];
    let all: BTreeSet<_> = objects.iter().map(|object| object.id.clone()).collect();
    let joined = join_what_fits(&file(""), &objects, &all, |_, _| Vec::new()).unwrap();
    assert_eq!(names(&joined), ["good"]);
    assert_eq!(
        joined.left_out[0].to_string(),
        "api: services/orphan /pool there is no pool `gone`"
    );
    join_what_fits(&file(""), &objects, &BTreeSet::new(), |_, _| Vec::new()).unwrap_err();
    join_what_fits(&file("[nod]"), &objects, &all, |_, _| Vec::new()).unwrap_err();
}

#[test]
fn a_file_has_objects_too() {
    let text = in_file("web", "203.0.113.1")
        + "[pools.app]\nservers = []\n[[certificates]]\ncert = 'a.crt'\nkey = 'a.key'\n";
    let found = file_objects(&file(&text));
    let shown: Vec<_> = found.iter().map(|it| format!("{} {}", it.id, it.place)).collect();
    assert_eq!(
        shown,
        [
            "services/web /etc/lb/lb.toml:3:1",
            "pools/app /etc/lb/lb.toml:8:8",
            "certificates/a.crt /etc/lb/lb.toml:10:1",
        ]
    );
    assert_eq!(found[0].body["ports"], json!([{"port": 80, "handlers": ["http"]}]));
}
