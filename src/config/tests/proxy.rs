//! The proxy for outbound requests, whose credentials are shown nowhere.

use super::super::sources::Document;
use super::super::{
    Config, ConfigErrors, OutboundProxy, ProxyCredentials, ProxyScheme, Settings, Sources, dump,
};
use super::{MINIMAL, load, shows};

fn with_proxy(value: &str) -> Result<Config, ConfigErrors> {
    load(&format!("{MINIMAL}[outbound]\nproxy = '{value}'\n"), &[])
}

#[test]
fn proxies_are_read() {
    let both = |user: &str, password: &str| {
        Some(ProxyCredentials { user: user.to_owned(), password: password.to_owned() })
    };
    let table = [
        ("http://10.0.0.1:3128", ProxyScheme::Http, "10.0.0.1", 3_128, None),
        ("http://proxy.internal:80/", ProxyScheme::Http, "proxy.internal", 80, None),
        ("socks5://127.0.0.1:9050", ProxyScheme::Socks5, "127.0.0.1", 9_050, None),
        ("socks5://[::1]:1080", ProxyScheme::Socks5, "::1", 1_080, None),
        (
            "http://alice:s3cret@squid:3128",
            ProxyScheme::Http,
            "squid",
            3_128,
            both("alice", "s3cret"),
        ),
        ("socks5://a:@tor:9050", ProxyScheme::Socks5, "tor", 9_050, both("a", "")),
        ("http://a:b:c@d/e%40@squid:1", ProxyScheme::Http, "squid", 1, both("a", "b:c@d/e%40")),
    ];
    for (value, scheme, host, port, credentials) in table {
        let config = with_proxy(value).unwrap_or_else(|errors| panic!("{value}: {errors}"));
        let expected = OutboundProxy { scheme, host: host.to_owned(), port, credentials };
        assert_eq!(config.outbound.proxy, Some(expected), "{value}");
    }
    assert_eq!(with_proxy("").expect("none").outbound.proxy, None);
    assert_eq!(load(MINIMAL, &[]).expect("none").outbound.proxy, None);
}

#[test]
fn wrong_proxies_are_refused_without_a_word_of_their_credentials() {
    let long = format!("socks5://s3cret:{}@tor:9050", "s3cret".repeat(40));
    let table = [
        ("https://alice:s3cret@squid:3128", "neither an HTTP proxy"),
        ("socks4://alice:s3cret@squid:3128", "neither an HTTP proxy"),
        ("alice:s3cret@squid:3128", "neither an HTTP proxy"),
        ("s3cret@squid:3128", "neither an HTTP proxy"),
        ("http://alice:s3cret@squid", "the port is missing"),
        ("http://alice:s3cret@squid:0", "is not a port"),
        ("http://alice:s3cret@sq uid:1", "is not a host"),
        ("http://alice:s3cret@squid:1/path", "is not a port"),
        ("http://s3cret@squid:3128", "not a user name and a password"),
        ("http://:s3cret@squid:3128", "not a user name and a password"),
        (&long, "too long for a SOCKS5 proxy"),
    ];
    for (value, message) in table {
        let errors = with_proxy(value).expect_err(value).to_string();
        assert!(errors.contains(message), "{value}: {errors}");
        assert!(errors.contains("***@"), "{value}: {errors}");
        assert!(!errors.contains("s3cret"), "{errors}");
        let env = [("FEDGATE_OUTBOUND__PROXY", value)];
        let errors = load(MINIMAL, &env).expect_err(value).to_string();
        assert!(errors.contains(message) && !errors.contains("s3cret"), "{value}: {errors}");
    }
    shows(
        &format!("{MINIMAL}[outbound]\nproxy = \"socks4://alice:s3cret@squid:3128\"\n"),
        &[],
        r#"
error: outbound.proxy = "socks4://***@squid:3128": it is neither an HTTP proxy (CONNECT) nor a SOCKS5 proxy
  --> fedgate.toml:4:9
   |
 4 | proxy = "socks4://***@squid:3128"
   |         ^^^^^^^^^^^^^^^^^^^^^^^^^
   = help: write "http://host:port" or "socks5://host:port", with user:password@ before the host if the proxy asks for it
"#,
    );
    // An error of the line as a whole.
    let torn = format!("{MINIMAL}[outbound]\nproxy = \"http://alice:s3cret@squid:3128\n");
    let errors = load(&torn, &[]).expect_err("torn").to_string();
    assert!(errors.contains("not valid TOML") && !errors.contains("s3cret"), "{errors}");
}

#[test]
fn credentials_are_neither_dumped_nor_debugged() {
    let text = format!("{MINIMAL}[outbound]\nproxy = \"http://alice:s3cret@squid:3128\"\n");
    let config = load(&text, &[]).expect("right");
    let debugged = format!("{config:?}");
    assert!(debugged.contains("squid"), "{debugged}");
    let document = Document { path: "fedgate.toml".into(), text };
    let (settings, _) = Settings::gather(Some(&document), &Sources::default());
    let dumped = dump(&config, &settings);
    assert!(dumped.contains("proxy = \"http://***@squid:3128\"  # fedgate.toml:4:9\n"), "{dumped}");
    for shown in [debugged, dumped] {
        assert!(!shown.contains("s3cret") && !shown.contains("alice"), "{shown}");
    }
}
