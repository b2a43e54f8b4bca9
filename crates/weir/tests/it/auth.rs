//! A registry that asks who is there: the whole chain works with credentials, and says what is missing without them.

use schema_registry::Users;
use weir_testkit::wait_for;

use crate::world::{PATIENCE, World};

/// `weir:hush`, as `htpasswd -nbB -C 4` prints it.
const USERS: &str = "weir:$2y$04$Q8sZ1nW0pXb6Yf3kJ7mVcu42ON.2hZY/M.6bPoQ0iGgSzruSMCd2e\n";

#[test]
fn the_chain_works_where_the_registry_asks_for_a_password() {
    let Some(mut world) = World::start_with(Some(Users::parse(USERS).unwrap())) else { return };
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let apply = ["apply", "mesh/orders.odcs.yaml", "--yes"];
    for credentials in [None, Some(write("wrong", "weir:wrong\n"))] {
        world.credentials = credentials;
        let refused = world.weir(&apply).code(69);
        assert!(
            refused.stderr.contains("401") && refused.stderr.contains("--registry-credentials"),
            "{}",
            refused.stderr
        );
    }
    world.credentials = Some(write("right", "weir:hush\n"));
    world.weir(&apply).code(0);
    world.enforce();
    let events = write("events.csv", "id,quantity,note,at\na,1,,2026-01-02T03:04:05Z\nb,0,,2026-01-02T03:04:05Z\n");
    world.weir(&["produce", "--contract", "mesh/orders.odcs.yaml", "--file", &events]).code(0);
    wait_for(PATIENCE, "both verdicts", || {
        world.read("shop.orders").len() == 1 && world.read("shop.orders.quarantine").len() == 1
    });
    let consumed = world.weir(&["consume", "shop.orders", "-n", "1"]).code(0);
    assert!(consumed.stdout.contains("\"a\""), "{}", consumed.stdout);
}
