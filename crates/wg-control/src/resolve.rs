//! Endpoints by name, through the C library's resolver.
//!
//! The standard library's resolver hides why a name was not found, which decides whether to try
//! again, and knows no names of services.

use std::ffi::{CStr, CString};
use std::net::{SocketAddr, SocketAddrV6};
use std::time::Duration;

use nix::libc;
use wg_config::Endpoint;

/// How often to try again when a name cannot be resolved for the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retries {
    /// This many times.
    Times(u32),
    /// Until it works.
    Forever,
}

/// `WG_ENDPOINT_RESOLUTION_RETRIES` is neither a number nor `infinity`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Unable to parse WG_ENDPOINT_RESOLUTION_RETRIES: `{0}'")]
pub struct RetriesError(String);

/// An endpoint cannot be resolved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: `{endpoint}'")]
pub struct ResolveError {
    endpoint: Endpoint,
    reason: String,
}

const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(20);

impl Retries {
    /// Without the variable 15 times, as with the original.
    const DEFAULT: Self = Self::Times(15);

    /// What the variable `WG_ENDPOINT_RESOLUTION_RETRIES` says; an empty one says 0.
    ///
    /// # Errors
    /// When its value is neither a number nor `infinity`.
    pub fn from_env() -> Result<Self, RetriesError> {
        match std::env::var_os("WG_ENDPOINT_RESOLUTION_RETRIES") {
            Some(text) => Self::parse(&text.to_string_lossy()),
            None => Ok(Self::DEFAULT),
        }
    }

    fn parse(text: &str) -> Result<Self, RetriesError> {
        match text {
            "infinity" => Ok(Self::Forever),
            "" => Ok(Self::Times(0)),
            _ => match text.trim_start().parse() {
                Ok(times) => Ok(Self::Times(times)),
                Err(_) => Err(RetriesError(text.to_owned())),
            },
        }
    }
}

/// Resolves an endpoint. While that fails for reasons that may pass, waits and tries again:
/// 1 second, then 6/5 of the last wait, up to 20 seconds. `wait` hears of each failure and does the
/// waiting; where it says false, there is no further try.
///
/// # Errors
/// When there is no such name, or the retries are used up.
pub fn resolve(
    endpoint: &Endpoint,
    retries: Retries,
    mut wait: impl FnMut(&ResolveError, Duration) -> bool,
) -> Result<SocketAddr, ResolveError> {
    let (host, service) = match endpoint {
        Endpoint::Address(address) => return Ok(*address),
        Endpoint::Name { host, service } => (host, service),
    };
    let mut next_wait = FIRST_WAIT;
    let mut failures = 0;
    loop {
        let code = match look_up(host, service) {
            Ok(address) => return Ok(address),
            Err(code) => code,
        };
        let error = ResolveError { endpoint: endpoint.clone(), reason: reason(code) };
        if is_permanent(code) || retries == Retries::Times(failures) {
            return Err(error);
        }
        failures += 1;
        if !wait(&error, next_wait) {
            return Err(error);
        }
        next_wait = (next_wait * 6 / 5).min(LONGEST_WAIT);
    }
}

/// The UDP port of a service by its name, as `ListenPort = domain` has it.
pub fn service_port(name: &str) -> Option<u16> {
    let name = CString::new(name).ok()?;
    getaddrinfo(None, &name).ok().map(|address| address.port())
}

/// The address, or the resolver's code.
fn look_up(host: &str, service: &str) -> Result<SocketAddr, i32> {
    let (Ok(host), Ok(service)) = (CString::new(host), CString::new(service)) else {
        return Err(libc::EAI_NONAME);
    };
    getaddrinfo(Some(&host), &service)
}

fn is_permanent(code: i32) -> bool {
    matches!(code, libc::EAI_NONAME | libc::EAI_FAIL | libc::EAI_NODATA)
}

/// The first address of a host, or any of this one, and a UDP service; or the resolver's code.
fn getaddrinfo(host: Option<&CStr>, service: &CStr) -> Result<SocketAddr, i32> {
    // SAFETY: `addrinfo` holds integers and pointers only, for which zeros are valid.
    let mut hints: libc::addrinfo = unsafe { std::mem::zeroed() };
    hints.ai_family = libc::AF_UNSPEC;
    hints.ai_socktype = libc::SOCK_DGRAM;
    hints.ai_protocol = libc::IPPROTO_UDP;
    hints.ai_flags = if host.is_none() { libc::AI_PASSIVE } else { 0 };
    let host = host.map_or(std::ptr::null(), CStr::as_ptr);
    let mut list = std::ptr::null_mut();
    // SAFETY: both strings end in zero and outlive the call, and one of them may be null; `hints`
    // is as getaddrinfo(3) asks.
    let code = unsafe { libc::getaddrinfo(host, service.as_ptr(), &hints, &mut list) };
    if code != 0 {
        return Err(code);
    }
    let mut found = None;
    let mut next = list;
    // SAFETY: after success the list is valid until it is freed, and ends in a null pointer.
    while let Some(info) = unsafe { next.as_ref() } {
        // SAFETY: as above; what `info` points to is part of the list.
        found = found.or_else(|| unsafe { socket_address(info) });
        next = info.ai_next;
    }
    // SAFETY: the list came from getaddrinfo and is freed once; nothing borrowed from it is left.
    unsafe { libc::freeaddrinfo(list) };
    found.ok_or(libc::EAI_NONAME)
}

/// # Safety
/// `info.ai_addr` must point to `info.ai_addrlen` readable bytes.
unsafe fn socket_address(info: &libc::addrinfo) -> Option<SocketAddr> {
    let length = usize::try_from(info.ai_addrlen).ok()?;
    match info.ai_family {
        libc::AF_INET if length >= size_of::<libc::sockaddr_in>() => {
            // SAFETY: the caller vouches for that many bytes, which hold a `sockaddr_in`.
            let address = unsafe { info.ai_addr.cast::<libc::sockaddr_in>().read_unaligned() };
            let ip = u32::from_be(address.sin_addr.s_addr).to_be_bytes();
            Some(SocketAddr::new(ip.into(), u16::from_be(address.sin_port)))
        }
        libc::AF_INET6 if length >= size_of::<libc::sockaddr_in6>() => {
            // SAFETY: the caller vouches for that many bytes, which hold a `sockaddr_in6`.
            let address = unsafe { info.ai_addr.cast::<libc::sockaddr_in6>().read_unaligned() };
            let ip = address.sin6_addr.s6_addr.into();
            let port = u16::from_be(address.sin6_port);
            Some(SocketAddrV6::new(ip, port, 0, address.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// The C library's sentence for a code of the resolver.
fn reason(code: i32) -> String {
    // SAFETY: gai_strerror takes any number.
    let text = unsafe { libc::gai_strerror(code) };
    // SAFETY: what it returns is a static string that ends in zero.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(host: &str, service: &str) -> Endpoint {
        Endpoint::new(host, service)
    }

    fn resolve_once(host: &str, service: &str) -> Result<SocketAddr, String> {
        resolve(&endpoint(host, service), Retries::Times(0), |_, _| panic!("a retry"))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn numbers_scopes_and_names_of_services_resolve() {
        let scope = nix::net::if_::if_nametoindex("lo").unwrap();
        let scoped = SocketAddrV6::new("fe80::1".parse().unwrap(), 5, 0, scope);
        for (host, service, expected) in [
            ("192.0.2.1", "5", "192.0.2.1:5".parse().unwrap()),
            ("2001:db8::1", "65535", "[2001:db8::1]:65535".parse().unwrap()),
            ("fe80::1%lo", "5", scoped.into()),
            ("127.1", "005", "127.0.0.1:5".parse().unwrap()),
        ] {
            assert_eq!(resolve_once(host, service), Ok(expected), "{host} {service}");
        }
    }

    #[test]
    fn a_service_has_the_port_of_udp() {
        for (name, port) in [("domain", Some(53)), ("5", Some(5)), ("no-service", None)] {
            assert_eq!(service_port(name), port, "{name}");
        }
        assert_eq!(service_port("nul\0"), None);
    }

    #[test]
    fn what_cannot_exist_fails_at_once_in_the_resolvers_words() {
        for (host, service, text) in [
            ("a b", "55", "Name or service not known: `a b:55'"),
            ("", "5", "Name or service not known: `:5'"),
            ("fe80::1%no-such-link", "5", "Name or service not known: `[fe80::1%no-such-link]:5'"),
            ("nul\0", "5", "Name or service not known: `nul\0:5'"),
        ] {
            assert_eq!(resolve_once(host, service), Err(text.to_owned()));
        }
    }

    #[test]
    fn what_may_pass_is_retried_and_told() {
        let mut told = Vec::new();
        let error =
            resolve(&endpoint("192.0.2.1", "no-service"), Retries::Times(1), |error, wait| {
                told.push((error.to_string(), wait));
                true
            });
        let text = "Servname not supported for ai_socktype: `192.0.2.1:no-service'".to_owned();
        assert_eq!(told, [(text.clone(), Duration::from_secs(1))]);
        assert_eq!(error.unwrap_err().to_string(), text);
    }

    #[test]
    fn who_waits_may_give_up() {
        let mut waits = 0;
        let error = resolve(&endpoint("192.0.2.1", "no-service"), Retries::Forever, |_, _| {
            waits += 1;
            waits < 3
        });
        assert!(error.is_err());
        assert_eq!(waits, 3);
    }

    #[test]
    fn the_number_of_retries_is_read_as_the_original_reads_it() {
        assert_eq!(Retries::parse("infinity"), Ok(Retries::Forever));
        assert_eq!(Retries::parse(""), Ok(Retries::Times(0)));
        assert_eq!(Retries::parse(" 1"), Ok(Retries::Times(1)));
        for text in ["bogus", "-1", "1x", "infinit", "INFINITY", "1.5"] {
            let error = Retries::parse(text).unwrap_err().to_string();
            assert_eq!(error, format!("Unable to parse WG_ENDPOINT_RESOLUTION_RETRIES: `{text}'"));
        }
    }
}
