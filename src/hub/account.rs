//! Whose token it is, and what the Hub says it may do.

use serde::Deserialize;

use super::client::{Call, Client, Subject};
use super::error::HubError;

/// The user, organisation or workflow that a token belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Name on the Hub.
    pub name: String,
    /// Organisations that it belongs to.
    pub organisations: Vec<Organisation>,
    /// What the token may do.
    pub role: Role,
}

/// An organisation, seen from one of its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Organisation {
    /// Name on the Hub.
    pub name: String,
    /// Whether its members of this kind may create repositories; only `read` may not.
    pub may_create: bool,
}

/// What a token may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Read only.
    Read,
    /// Everything that the account may.
    Write,
    /// What is listed, one by one.
    FineGrained {
        /// Users, organisations and repositories (`owner/name`) that it may write to.
        writable: Vec<String>,
    },
    /// The Hub does not say, as for tokens of workflows; asking for the right shows it.
    Unstated,
}

#[derive(Deserialize)]
struct RawAccount {
    #[serde(default)]
    name: String,
    #[serde(default)]
    orgs: Vec<RawOrganisation>,
    #[serde(default)]
    auth: RawAuth,
}

#[derive(Deserialize)]
struct RawOrganisation {
    name: String,
    #[serde(default, rename = "roleInOrg")]
    role: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawAuth {
    access_token: Option<RawToken>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawToken {
    #[serde(default)]
    role: String,
    #[serde(default)]
    fine_grained: RawGrants,
}

#[derive(Default, Deserialize)]
struct RawGrants {
    #[serde(default)]
    scoped: Vec<RawGrant>,
}

#[derive(Deserialize)]
struct RawGrant {
    entity: RawEntity,
    #[serde(default)]
    permissions: Vec<String>,
}

#[derive(Deserialize)]
struct RawEntity {
    #[serde(default)]
    name: String,
}

impl Account {
    /// Whether it can have repositories in this namespace, as far as is known.
    pub fn may_create(&self, owner: &str) -> bool {
        let ours = self.name.eq_ignore_ascii_case(owner)
            || self.organisations.iter().any(|o| o.may_create && o.name.eq_ignore_ascii_case(owner));
        ours && match &self.role {
            Role::Read => false,
            Role::FineGrained { writable } => writable.iter().any(|name| name.eq_ignore_ascii_case(owner)),
            Role::Write | Role::Unstated => true,
        }
    }
}

impl From<RawAccount> for Account {
    fn from(raw: RawAccount) -> Self {
        let organisation = |o: RawOrganisation| {
            let may_create = o.role.as_deref() != Some("read");
            Organisation { name: o.name, may_create }
        };
        let role = match raw.auth.access_token {
            None => Role::Unstated,
            Some(token) => match token.role.as_str() {
                "read" => Role::Read,
                "write" | "admin" => Role::Write,
                "fineGrained" => {
                    let grants = token.fine_grained.scoped.into_iter();
                    let may = |g: &RawGrant| g.permissions.iter().any(|p| p == "repo.write");
                    Role::FineGrained { writable: grants.filter(may).map(|g| g.entity.name).collect() }
                }
                _ => Role::Unstated,
            },
        };
        Account { name: raw.name, organisations: raw.orgs.into_iter().map(organisation).collect(), role }
    }
}

/// Asks the Hub whose token it is.
pub(super) async fn whoami(client: &Client<'_>, subject: Subject<'_>) -> Result<Account, HubError> {
    let url = client.url(&["api", "whoami-v2"]);
    let reply = client.ask(subject, || Call::get(url.clone())).await?;
    Ok(reply.json::<RawAccount>()?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(json: serde_json::Value) -> Account {
        serde_json::from_value::<RawAccount>(json).unwrap().into()
    }

    #[test]
    fn roles() {
        let check = |token: serde_json::Value, role: Role| {
            let json = serde_json::json!({"type":"user","name":"me","auth":{"accessToken":token}});
            assert_eq!(account(json).role, role);
        };
        check(serde_json::json!({"role":"read"}), Role::Read);
        check(serde_json::json!({"role":"write","displayName":"x"}), Role::Write);
        check(serde_json::json!({"role":"new"}), Role::Unstated);
        check(serde_json::Value::Null, Role::Unstated);
        let grants = serde_json::json!({"role":"fineGrained","fineGrained":{"global":[],"scoped":[
            {"entity":{"_id":"1","type":"user","name":"me"},"permissions":["repo.content.read"]},
            {"entity":{"_id":"2","type":"org","name":"team"},"permissions":["repo.write"]}]}});
        check(grants, Role::FineGrained { writable: vec!["team".to_owned()] });
        assert_eq!(account(serde_json::json!({"type":"user","name":"me"})).role, Role::Unstated);
    }

    #[test]
    fn namespaces() {
        let mut me = account(serde_json::json!({"name":"Me","auth":{"accessToken":{"role":"write"}},
            "orgs":[{"name":"team","roleInOrg":"write"},{"name":"readers","roleInOrg":"read"},{"name":"old"}]}));
        for (owner, may) in
            [("me", true), ("Team", true), ("readers", false), ("old", true), ("others", false)]
        {
            assert_eq!(me.may_create(owner), may, "{owner}");
        }
        me.role = Role::FineGrained { writable: vec!["team".to_owned(), "others".to_owned()] };
        for (owner, may) in [("me", false), ("team", true), ("others", false)] {
            assert_eq!(me.may_create(owner), may, "{owner}");
        }
        me.role = Role::Read;
        assert!(!me.may_create("me"));
    }
}
