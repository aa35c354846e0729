//! The response header `fly-replay`.
//!
//! <https://fly.io/docs/networking/dynamic-request-routing/>: fields `name=value` with semicolons
//! between them; a value with commas or semicolons stands in quotes.

use std::time::Duration;

use super::routing_hints::regions;

/// Where a backend wants the request to go instead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Directions {
    /// In this order, and nowhere else unless `any` is among them.
    pub regions: Vec<Box<str>>,
    /// There or nowhere.
    pub instance: Option<Box<str>>,
    pub prefer_instance: Option<Box<str>>,
    /// Another service.
    pub app: Option<Box<str>>,
    /// For whoever gets the request.
    pub state: Option<Box<str>>,
    /// Not to the backend that says so.
    pub elsewhere: bool,
    /// To reach a backend within.
    pub timeout: Option<Duration>,
    pub fallback: Option<Fallback>,
}

/// Back to the backend that gave the directions, when they lead nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fallback {
    ForceSelf,
    /// Or to another one of its service.
    PreferSelf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MalformedDirections {
    #[error("a field is not `name=value`")]
    Field,
    #[error("a quote does not end")]
    Quote,
    #[error("a field is unknown")]
    Unknown,
    #[error("a field is given twice")]
    Twice,
    #[error("a value does not fit its field")]
    Value,
    #[error("no field says where to go")]
    Nowhere,
}

/// # Errors
/// [`MalformedDirections`]: nothing is guessed, for the request would go astray.
pub(crate) fn parse(text: &str) -> Result<Directions, MalformedDirections> {
    let mut directions = Directions::default();
    let mut seen = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, value, after) = field(rest)?;
        if seen.contains(&name) {
            return Err(MalformedDirections::Twice);
        }
        seen.push(name);
        directions.set(name, value)?;
        rest = after;
    }
    let leads = ["region", "instance", "prefer_instance", "app"];
    if !directions.elsewhere && !leads.iter().any(|name| seen.contains(name)) {
        return Err(MalformedDirections::Nowhere);
    }
    Ok(directions)
}

/// The first field's name and value, and what follows it.
fn field(text: &str) -> Result<(&str, &str, &str), MalformedDirections> {
    let (name, value) = text.split_once('=').ok_or(MalformedDirections::Field)?;
    let value = value.trim_start();
    let (value, after) = match value.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"').ok_or(MalformedDirections::Quote)?,
        None => value.find(';').map_or((value, ""), |end| value.split_at(end)),
    };
    let after = after.trim_start();
    let after = match after.strip_prefix(';') {
        Some(after) => after.trim_start(),
        None if after.is_empty() => after,
        None => return Err(MalformedDirections::Field),
    };
    Ok((name.trim(), value.trim(), after))
}

impl Directions {
    fn set(&mut self, name: &str, value: &str) -> Result<(), MalformedDirections> {
        let text = || Some(value).filter(|it| !it.is_empty()).map(Box::from);
        let needed = || text().ok_or(MalformedDirections::Value).map(Some);
        match name {
            "region" => {
                self.regions = regions(value);
                if self.regions.is_empty() {
                    return Err(MalformedDirections::Value);
                }
            }
            "instance" => self.instance = needed()?,
            "prefer_instance" => self.prefer_instance = needed()?,
            "app" => self.app = needed()?,
            "state" => self.state = text(),
            "elsewhere" => {
                self.elsewhere = value.parse().map_err(|_| MalformedDirections::Value)?;
            }
            "timeout" => {
                let timeout =
                    humantime::parse_duration(value).map_err(|_| MalformedDirections::Value)?;
                self.timeout = Some(timeout);
            }
            "fallback" => {
                self.fallback = Some(match value {
                    "force_self" => Fallback::ForceSelf,
                    "prefer_self" => Fallback::PreferSelf,
                    _ => return Err(MalformedDirections::Value),
                });
            }
            _ => return Err(MalformedDirections::Unknown),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_field_is_read() {
        let all = "region=\"iad, ord,us\"; instance=m-1;prefer_instance=m-2;app=other;\
                   state=\"a=b; c\";elsewhere=true;timeout=800ms;fallback=prefer_self";
        let expected = Directions {
            regions: vec!["iad".into(), "ord".into(), "us".into()],
            instance: Some("m-1".into()),
            prefer_instance: Some("m-2".into()),
            app: Some("other".into()),
            state: Some("a=b; c".into()),
            elsewhere: true,
            timeout: Some(Duration::from_millis(800)),
            fallback: Some(Fallback::PreferSelf),
        };
        assert_eq!(parse(all), Ok(expected));
        let lone = Directions { regions: vec!["sjc".into()], ..Directions::default() };
        for text in ["region=sjc", " region = sjc ;", "region=\"sjc\";", "region=sjc;state="] {
            assert_eq!(parse(text), Ok(lone.clone()), "{text}");
        }
    }

    #[test]
    fn what_leads_nowhere_is_refused() {
        for (text, why) in [
            ("", MalformedDirections::Nowhere),
            ("state=x", MalformedDirections::Nowhere),
            ("elsewhere=false", MalformedDirections::Nowhere),
            ("timeout=5s;fallback=force_self", MalformedDirections::Nowhere),
            ("region", MalformedDirections::Field),
            (";region=sjc", MalformedDirections::Unknown),
            ("region=\"sjc\"x", MalformedDirections::Field),
            ("region=\"sjc", MalformedDirections::Quote),
            ("region=", MalformedDirections::Value),
            ("region=\" , \"", MalformedDirections::Value),
            ("instance=", MalformedDirections::Value),
            ("app=\"\"", MalformedDirections::Value),
            ("elsewhere=yes", MalformedDirections::Value),
            ("region=sjc;timeout=soon", MalformedDirections::Value),
            ("region=sjc;fallback=self", MalformedDirections::Value),
            ("region=sjc;planet=mars", MalformedDirections::Unknown),
            ("Region=sjc", MalformedDirections::Unknown),
            ("region=sjc;region=iad", MalformedDirections::Twice),
        ] {
            assert_eq!(parse(text), Err(why), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_has_an_answer(text in "(region|app|state|timeout|[a-z;=\", ]){0,12}") {
            if let Ok(directions) = parse(&text) {
                let Directions { regions, instance, prefer_instance, app, elsewhere, .. } =
                    directions;
                let leads = instance.is_some() || prefer_instance.is_some() || app.is_some();
                prop_assert!(leads || elsewhere || !regions.is_empty());
            }
        }
    }
}
