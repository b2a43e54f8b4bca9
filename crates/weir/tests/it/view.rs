//! `weir apply` of views.

use crate::weir;
use crate::world::World;

const CONTRACT: &str = "mesh/orders.odcs.yaml";
const TOTALS: &str = "views/totals.view.yaml";
const BUSY: &str = "views/busy.view.yaml";

#[test]
fn views_are_applied_by_themselves() {
    let Some(world) = World::start() else { return };
    apply(&world);
}

/// What views read may be in the files or in force, and must be in one of them.
fn apply(world: &World) {
    let none = world.weir(&["apply", "views", "--yes"]).code(1);
    let lacking = "neither in the files nor in force in the cluster: shop.orders; name its contract or view too, or apply it first";
    assert!(none.stderr.contains(lacking), "{}", none.stderr);
    assert!(none.stderr.contains("views/totals.view.yaml:6:8: error[view-sql]"), "{}", none.stderr);
    assert!(!world.admin.topics().unwrap().contains_key("weir.views"));
    let list = |expect: &str| {
        assert_eq!(weir(&["view", "list", "--kafka", &world.bootstrap]).code(0).stdout, expect);
    };
    list("");
    world.weir(&["apply", CONTRACT, "--yes"]).code(0);
    let dry = world.weir(&["apply", TOTALS, "--dry-run"]).code(3);
    assert!(dry.stdout.ends_with("+ view shop.totals: version 1.0.0\n"), "{}", dry.stdout);
    let lacking = world.weir(&["apply", BUSY, "--yes"]).code(1);
    assert!(lacking.stderr.contains("in the cluster: shop.totals; name"), "{}", lacking.stderr);
    world.weir(&["apply", TOTALS, "--yes"]).code(0);
    // A view in force is as good as a product.
    world.weir(&["apply", BUSY, "--yes"]).code(0);
    list(
        "shop.busy                          1.0.0     shop.busy\nshop.totals                        1.0.0     shop.totals\n",
    );
    assert_eq!(world.weir(&["apply", "views"]).code(0).stderr, "nothing to do: the cluster is as 2 views ask\n");
}
