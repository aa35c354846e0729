//! Selectors of flows.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An address with an optional port: `203.0.113.1`, `203.0.113.1:80`, `[2001:db8::1]:80`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Endpoint {
    pub address: IpAddr,
    pub port: Option<u16>,
}

impl Endpoint {
    fn takes(self, other: SocketAddr) -> bool {
        self.address == other.ip() && self.port.is_none_or(|port| port == other.port())
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(whole) = text.parse::<SocketAddr>() {
            return Ok(Self { address: whole.ip(), port: Some(whole.port()) });
        }
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        let address = bare.parse().map_err(|_| {
            format!("`{text}` is no address, with or without a port: 203.0.113.1, [2001:db8::1]:80")
        })?;
        Ok(Self { address, port: None })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.address, port).fmt(f),
            None => self.address.fmt(f),
        }
    }
}

/// A prefix such as `198.51.100.0/24`, or a single address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network(pub IpNet);

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let alone = text.parse::<IpAddr>().map(IpNet::from);
        let network = alone.or_else(|_| text.parse::<IpNet>());
        let network = network.map_err(|_| {
            format!("`{text}` is no address or network: 198.51.100.7, 2001:db8::/32")
        })?;
        Ok(Self(network.trunc()))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    )*};
}

as_text!(Endpoint, Network);

/// The protocol of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    Tcp,
    Udp,
    Icmp,
}

impl Transport {
    /// Converts an IP protocol number.
    #[must_use]
    pub const fn of(protocol: u32) -> Option<Self> {
        match protocol {
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            1 | 58 => Some(Self::Icmp),
            _ => None,
        }
    }

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
        }
    }
}

impl FromStr for Transport {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Tcp, Self::Udp, Self::Icmp];
        let known = all.into_iter().find(|known| known.name() == text);
        known.ok_or_else(|| format!("`{text}` is none of tcp, udp, icmp"))
    }
}

/// The state of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FlowState {
    HalfOpen,
    Established,
    Closed,
}

impl FlowState {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::HalfOpen => "half-open",
            Self::Established => "established",
            Self::Closed => "closed",
        }
    }
}

impl FromStr for FlowState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::HalfOpen, Self::Established, Self::Closed];
        let known = all.into_iter().find(|known| known.name() == text);
        known.ok_or_else(|| format!("`{text}` is none of half-open, established, closed"))
    }
}

/// Conditions that all must hold. Without any, every flow matches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Selector {
    #[schema(value_type = Option<String>)]
    pub client: Option<Network>,
    #[schema(value_type = Option<String>)]
    pub vip: Option<Endpoint>,
    #[schema(value_type = Option<String>)]
    pub backend: Option<Endpoint>,
    pub service: Option<String>,
    pub protocol: Option<Transport>,
    pub state: Option<FlowState>,
}

/// The properties that a [`Selector`] looks at. An unknown one meets no condition.
#[derive(Clone, Copy, Debug)]
pub struct FlowTraits<'a> {
    pub client: Option<SocketAddr>,
    pub vip: Option<SocketAddr>,
    pub backend: Option<SocketAddr>,
    pub service: Option<&'a str>,
    pub protocol: Option<Transport>,
    pub state: Option<FlowState>,
}

impl Selector {
    #[must_use]
    pub fn takes(&self, of: &FlowTraits<'_>) -> bool {
        let client = |Network(network)| of.client.is_some_and(|it| network.contains(&it.ip()));
        let takes = |wanted: Option<Endpoint>, end: Option<SocketAddr>| {
            wanted.is_none_or(|wanted| end.is_some_and(|end| wanted.takes(end)))
        };
        self.client.is_none_or(client)
            && takes(self.vip, of.vip)
            && takes(self.backend, of.backend)
            && self.service.as_deref().is_none_or(|service| of.service == Some(service))
            && self.protocol.is_none_or(|protocol| of.protocol == Some(protocol))
            && self.state.is_none_or(|state| of.state == Some(state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOW: FlowTraits<'static> = FlowTraits {
        client: Some(SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 7)), 4000)),
        vip: Some(SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 1)), 80)),
        backend: Some(SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)), 8080)),
        service: Some("web"),
        protocol: Some(Transport::Tcp),
        state: Some(FlowState::Established),
    };

    #[test]
    fn endpoints_and_networks_are_read_and_written() {
        for text in ["203.0.113.1", "203.0.113.1:80", "2001:db8::1", "[2001:db8::1]:80"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        assert_eq!("[2001:db8::1]".parse::<Endpoint>().unwrap().port, None);
        assert!("web:80".parse::<Endpoint>().unwrap_err().contains("`web:80`"));
        assert_eq!("198.51.100.7/24".parse::<Network>().unwrap().to_string(), "198.51.100.0/24");
        assert_eq!("2001:db8::1".parse::<Network>().unwrap().to_string(), "2001:db8::1/128");
        assert!("198.51.100.7/33".parse::<Network>().is_err());
    }

    #[test]
    fn every_condition_counts() {
        let takes = |json: &str| {
            let selector: Selector = serde_json::from_str(json).expect("a selector");
            selector.takes(&FLOW)
        };
        assert!(takes("{}"));
        for (yes, no) in [
            (r#"{"client":"198.51.100.0/24"}"#, r#"{"client":"198.51.101.0/24"}"#),
            (r#"{"vip":"203.0.113.1"}"#, r#"{"vip":"203.0.113.1:81"}"#),
            (r#"{"backend":"10.0.0.1:8080"}"#, r#"{"backend":"10.0.0.2"}"#),
            (r#"{"service":"web"}"#, r#"{"service":"dns"}"#),
            (r#"{"protocol":"tcp"}"#, r#"{"protocol":"udp"}"#),
            (r#"{"state":"established"}"#, r#"{"state":"half-open"}"#),
        ] {
            assert!(takes(yes), "{yes}");
            assert!(!takes(no), "{no}");
        }
        let foreign = FlowTraits { client: None, vip: None, ..FLOW };
        for json in [r#"{"client":"0.0.0.0/0"}"#, r#"{"vip":"203.0.113.1"}"#] {
            let selector: Selector = serde_json::from_str(json).expect("a selector");
            assert!(!selector.takes(&foreign), "{json}");
        }
        let unknown = FlowTraits { backend: None, service: None, ..FLOW };
        let selector = Selector { service: Some("web".into()), ..Selector::default() };
        assert!(!selector.takes(&unknown));
        assert!(serde_json::from_str::<Selector>(r#"{"clinet":"10.0.0.1"}"#).is_err());
    }
}
