//! Finds the object that a name on the command line means, or says which name is near.

use lb_common::api::{Backend, Service};

use super::Context;
use crate::args::look::Filter;
use crate::error::Error;
use crate::render::backend::Row;

/// Names that differ more are not what was meant.
const NEAR: f64 = 0.6;

pub(super) async fn services(context: &Context) -> Result<Vec<Service>, Error> {
    context.client.get("/v1/services").await
}

pub(super) fn service<'a>(services: &'a [Service], name: &str) -> Result<&'a Service, Error> {
    services.iter().find(|service| service.name == name).ok_or_else(|| {
        let help = hint(name, services.iter().map(|service| &service.name), "lb-ctl service list");
        Error::NotFound { what: format!("service `{name}`"), help: Some(help) }
    })
}

pub(super) fn backend<'a>(service: &'a Service, name: &str) -> Result<&'a Backend, Error> {
    service.backends.iter().find(|backend| backend.name == name).ok_or_else(|| {
        let names = service.backends.iter().map(|backend| &backend.name);
        let help = hint(name, names, &format!("lb-ctl backend list {}", service.name));
        let what = format!("backend `{name}` in service `{}`", service.name);
        Error::NotFound { what, help: Some(help) }
    })
}

/// Fails if a filter names something that does not exist: an empty list must not hide a slip of the pen.
pub(super) fn check(services: &[Service], filter: &Filter) -> Result<(), Error> {
    let of_service = match &filter.service {
        Some(name) => std::slice::from_ref(service(services, name)?),
        None => services,
    };
    let Some(name) = &filter.backend else { return Ok(()) };
    match of_service {
        [one] => backend(one, name).map(drop),
        several if several.iter().any(|service| backend(service, name).is_ok()) => Ok(()),
        several => {
            let names = several.iter().flat_map(|service| &service.backends).map(|one| &one.name);
            let help = hint(name, names, "lb-ctl backend list");
            Err(Error::NotFound { what: format!("backend `{name}`"), help: Some(help) })
        }
    }
}

pub(super) fn matches(filter: &Filter, row: &Row<'_>) -> bool {
    names_match(filter, row.service, &row.backend.name)
}

pub(super) fn names_match(filter: &Filter, service: &str, backend: &str) -> bool {
    filter.service.as_deref().is_none_or(|name| name == service)
        && filter.backend.as_deref().is_none_or(|name| name == backend)
}

fn hint<'a>(name: &str, names: impl Iterator<Item = &'a String>, list: &str) -> String {
    let nearest = names
        .map(|other| (strsim::jaro_winkler(name, other), other))
        .filter(|(nearness, _)| *nearness > NEAR)
        .max_by(|left, right| left.0.total_cmp(&right.0));
    match nearest {
        Some((_, nearest)) => format!("did you mean `{nearest}`? `{list}` lists all"),
        None => format!("`{list}` lists all"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::backend::tests::shop;

    #[test]
    fn a_wrong_name_is_answered_with_the_nearest() {
        let services = [shop()];
        let error = service(&services, "shpo").unwrap_err();
        assert_eq!(error.to_string(), "there is no service `shpo`");
        assert_eq!(error.help().unwrap(), "did you mean `shop`? `lb-ctl service list` lists all");

        let error = backend(&services[0], "web2").unwrap_err();
        assert_eq!(error.to_string(), "there is no backend `web2` in service `shop`");
        assert!(error.help().unwrap().starts_with("did you mean `web1`?"));
    }

    #[test]
    fn a_name_that_is_like_no_other_gets_no_guess() {
        let error = service(&[shop()], "xyz").unwrap_err();
        assert_eq!(error.help().unwrap(), "`lb-ctl service list` lists all");
    }

    #[test]
    fn a_filter_must_name_what_exists() {
        let mut dns = shop();
        dns.name = "dns".into();
        dns.backends.truncate(1);
        let services = [shop(), dns];
        let filter = |service: Option<&str>, backend: Option<&str>| Filter {
            service: service.map(Into::into),
            backend: backend.map(Into::into),
        };
        for good in
            [filter(None, None), filter(Some("shop"), Some("sorry")), filter(None, Some("sorry"))]
        {
            assert!(check(&services, &good).is_ok(), "{good:?}");
        }
        for bad in [
            filter(Some("ship"), None),
            filter(Some("dns"), Some("sorry")),
            filter(None, Some("w")),
        ] {
            assert!(check(&services, &bad).is_err(), "{bad:?}");
        }
    }
}
