//! Users and roles, without secrets: the client tells none, and no server gives any out.

use super::Official;
use aerospike::{Privilege, Role, User};
use serde_json::{Value as Json, json};

impl Official {
    /// Every user with the names of its roles.
    pub(in crate::connector::aerospike) fn users(&self) -> Result<Vec<Json>, String> {
        let mut users = self.wait(self.client.query_users(&self.admin, None))?;
        users.sort_by(|a, b| a.user.cmp(&b.user));
        Ok(users.iter().map(user).collect())
    }

    /// Every role with what it may do, from where, and how much of it.
    pub(in crate::connector::aerospike) fn roles(&self) -> Result<Vec<Json>, String> {
        let mut roles = self.wait(self.client.query_roles(&self.admin, None))?;
        roles.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(roles.iter().map(role).collect())
    }
}

fn user(user: &User) -> Json {
    let mut roles = user.roles.clone();
    roles.sort();
    json!({ "name": user.user, "roles": roles })
}

fn role(role: &Role) -> Json {
    json!({
        "name": role.name,
        "privileges": role.privileges.iter().map(privilege).collect::<Vec<_>>(),
        "allowlist": role.allowlist,
        "read_quota": role.read_quota,
        "write_quota": role.write_quota,
    })
}

/// `read-write`, `read.NAMESPACE`, `write.NAMESPACE.SET`.
fn privilege(privilege: &Privilege) -> String {
    let scope = [&privilege.namespace, &privilege.set_name];
    let scope = scope.into_iter().flatten().filter(|part| !part.is_empty());
    scope.fold(privilege.code.to_string(), |text, part| format!("{text}.{part}"))
}
