//! What a task asks for of resources, on the command line.

use bowline_api::{Ask, NewTask};
use bowline_core::name::{Key, ResourceName};

/// Resources that it holds while it runs.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Resources that it holds while it runs")]
pub(crate) struct Resources {
    /// A lock: nobody else holds it meanwhile; may be repeated
    #[arg(long, value_name = "NAME")]
    lock: Vec<ResourceName>,
    /// A shared lock: others may share it, nobody may hold it alone; may be repeated
    #[arg(long, value_name = "NAME")]
    shared: Vec<ResourceName>,
    /// So much of a declared capacity [default: 1]; may be repeated
    #[arg(long, value_name = "NAME[=N]", value_parser = license)]
    license: Vec<Ask>,
    /// A declared device: of this resource, with these attributes (`name` is its own name); may be repeated
    #[arg(long, value_name = "[NAME:]KEY=VALUE,…", value_parser = device)]
    device: Vec<Ask>,
}

/// Resources, and how they are held.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Resources that it holds while it runs")]
pub(crate) struct Asks {
    #[command(flatten)]
    resources: Resources,
    /// Give them up between a failure and its retry; it keeps its place in line
    #[arg(long)]
    release_while_retrying: bool,
    /// Refuse it where it is not possible now: no known worker fits, or a resource is out of service
    #[arg(long)]
    pub(super) strict: bool,
}

impl Resources {
    /// All of them.
    pub(crate) fn list(&self) -> Vec<Ask> {
        let exclusive = self.lock.iter().map(|name| Ask::Exclusive { name: name.to_string() });
        let shared = self.shared.iter().map(|name| Ask::Shared { name: name.to_string() });
        let parts = self.license.iter().chain(&self.device).cloned();
        exclusive.chain(shared).chain(parts).collect()
    }
}

impl Asks {
    /// Writes them into the task.
    pub(super) fn add_to(&self, task: &mut NewTask) {
        task.resources = self.resources.list();
        task.release_while_retrying = self.release_while_retrying.then_some(true);
    }
}

fn resource(name: &str) -> Result<String, String> {
    ResourceName::new(name).map(|name| name.to_string()).map_err(|error| error.to_string())
}

fn license(text: &str) -> Result<Ask, String> {
    let (name, amount) = text.split_once('=').unwrap_or((text, "1"));
    let amount = amount.parse().ok().filter(|amount| *amount > 0);
    Ok(Ask::Counted { name: resource(name)?, amount: amount.ok_or("write how many as a number from 1 on: NAME=3")? })
}

/// `phones`, `phones:model=x,os=14` or, where one resource alone has such units, `model=x`.
fn device(text: &str) -> Result<Ask, String> {
    let before_values = text.split('=').next().unwrap_or_default();
    let (name, rest) = match (before_values.rsplit_once(':'), text.contains('=')) {
        (Some((name, _)), true) => (Some(name), &text[name.len() + 1..]),
        (None, true) => (None, text),
        (None, false) => (Some(text), ""),
        // A resource whose own name has a colon is asked for by its units' names: `NAME:name=UNIT`.
        (Some(_), false) => return Err("write NAME:KEY=VALUE, or the resource's name alone".to_owned()),
    };
    let pairs = rest.split(',').filter(|pair| !pair.is_empty());
    Ok(Ask::Unit { name: name.map(resource).transpose()?, with: pairs.map(attribute).collect::<Result<_, _>>()? })
}

/// `KEY=VALUE`.
pub(crate) fn attribute(pair: &str) -> Result<(String, String), String> {
    let (key, value) = pair.split_once('=').ok_or_else(|| format!("write `{pair}` as KEY=VALUE"))?;
    let key = Key::new(key).map_err(|error| error.to_string())?;
    Ok((key.to_string(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(name: Option<&str>, with: &[(&str, &str)]) -> Ask {
        let with = with.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Ask::Unit { name: name.map(str::to_owned), with }
    }

    #[test]
    fn devices_are_named_by_resource_by_attributes_or_by_both() {
        assert_eq!(device("phones"), Ok(unit(Some("phones"), &[])));
        assert_eq!(device("model=x"), Ok(unit(None, &[("model", "x")])));
        assert_eq!(device("phones:model=x,os=14"), Ok(unit(Some("phones"), &[("model", "x"), ("os", "14")])));
        assert_eq!(device("lab:phones:model=x"), Ok(unit(Some("lab:phones"), &[("model", "x")])));
        assert_eq!(device("at=usb:3"), Ok(unit(None, &[("at", "usb:3")])));
        for wrong in ["", "phones:", "a b", "phones:model", "a=b,c", "=x"] {
            assert!(device(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn licences_have_a_number() {
        assert_eq!(license("lic"), Ok(Ask::Counted { name: "lic".to_owned(), amount: 1 }));
        assert_eq!(license("lic=3"), Ok(Ask::Counted { name: "lic".to_owned(), amount: 3 }));
        for wrong in ["lic=", "lic=0", "lic=-1", "=3", "lic=x"] {
            assert!(license(wrong).is_err(), "{wrong}");
        }
    }
}
