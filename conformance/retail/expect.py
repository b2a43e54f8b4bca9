#!/usr/bin/env python3
"""Says what every contract of the retail mesh must make of the real tables, without Weir: the oracle behind README.md.

usage: conformance/retail/expect.py [--events FOLDER] [PRODUCT ...]

Reads contracts/ and the files that events.py wrote, and evaluates every promise that concerns a single event:
required, enum, logicalTypeOptions, nullValues, and the row rules, whose meaning is written down here a second time, in
pandas. A rule that is not known here is an error. Prints each promise that is broken and, per product, its counts.
"""

import argparse
import pathlib
import sys

import pandas
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONTRACTS = {
    "transactions": "sales",
    "products": "merchandising",
    "promotions": "merchandising",
    "households": "customer",
    "campaign_descriptions": "marketing",
    "campaigns": "marketing",
    "coupons": "marketing",
    "coupon_redemptions": "marketing",
}
# True where the event keeps the rule.
RULES = {
    "quantity_positive": lambda t: t.quantity > 0,
    "coupon_match_within_coupon": lambda t: t.coupon_match_disc <= t.coupon_disc,
    "line_is_paid_or_discounted": lambda t: (t.sales_value > 0) | (t.retail_disc > 0) | (t.coupon_disc > 0),
    "range_tree_top_down": lambda t: t.product_type.isna() | t.product_category.notna(),
    "promoted_somewhere": lambda t: (t.display_location != "0") | (t.mailer_location != "0"),
    "kids_agree_with_composition": lambda t: t.household_comp.str.endswith("No Kids") == (t.kids_count == "0"),
    "single_agrees_with_size": lambda t: (t.household_comp == "1 Adult No Kids") == (t.household_size == "1"),
    "ends_after_start": lambda t: t.start_date <= t.end_date,
}
PER_EVENT = {"minimum", "maximum", "minLength", "maxLength", "pattern"}
NO_LIMIT = {"format", "timezone", "defaultTimezone"}


def mode(rule: dict, outer: str) -> str:
    given = {p["property"]: p["value"] for p in rule.get("customProperties", []) if p.get("vendor") == "weir"}
    return given.get("mode", outer)


def promises(contract: dict):
    """Yields (what, mode, function from table to the events that keep it)."""
    topic = contract["schema"][0]
    outer = mode(topic, "enforce")
    for rule in topic.get("quality", []):
        if rule["type"] == "custom":
            yield rule["id"], mode(rule, outer), RULES[rule["id"]]
    for field in topic["properties"]:
        name, inner = field["name"], mode(field, outer)
        if field.get("required"):
            yield f"{name} required", inner, lambda t, n=name: t[n].notna()
        if "enum" in field:
            allowed = [value["value"] for value in field["enum"]]
            yield f"{name} enum", inner, lambda t, n=name, a=allowed: t[n].isna() | t[n].isin(a)
        for option, limit in field.get("logicalTypeOptions", {}).items():
            if option in NO_LIMIT:
                continue
            if option not in PER_EVENT:
                raise SystemExit(f"{contract['id']}: {name}: the option {option} is not known here")
            # Times and dates are compared as text: both are ISO 8601 in UTC, to the second or to the day.
            keeps = {
                "minimum": lambda t, n=name, x=limit: t[n] >= x,
                "maximum": lambda t, n=name, x=limit: t[n] <= x,
                "minLength": lambda t, n=name, x=limit: t[n].str.len() >= x,
                "maxLength": lambda t, n=name, x=limit: t[n].str.len() <= x,
                "pattern": lambda t, n=name, x=limit: t[n].str.contains(x, regex=True).astype(bool),
            }[option]
            yield f"{name} {option}", inner, lambda t, n=name, k=keeps: t[n].isna() | k(t)
        for rule in field.get("quality", []):
            if rule.get("metric") == "nullValues":
                yield rule["id"], mode(rule, inner), lambda t, n=name: t[n].notna()


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--events", type=pathlib.Path, default=pathlib.Path(".weir/retail"))
    arguments.add_argument("product", nargs="*")
    given = arguments.parse_args()
    for product in given.product or CONTRACTS:
        path = ROOT / "contracts" / CONTRACTS[product] / f"{product}.odcs.yaml"
        contract = yaml.safe_load(path.read_text(encoding="utf-8"))
        fields = contract["schema"][0]["properties"]
        numbers = {f["name"] for f in fields if f["logicalType"] in ("integer", "number")}
        columns = {f["name"]: str for f in fields if f["name"] not in numbers}
        table = pandas.read_csv(given.events / f"{product}.csv", dtype=columns, keep_default_na=False, na_values=[""])
        broken = {m: pandas.Series(False, index=table.index) for m in ("enforce", "warn", "shadow")}
        for what, how, keeps in promises(contract):
            breaks = ~keeps(table).astype(bool)
            broken[how] |= breaks
            if breaks.any():
                print(f"  {contract['id']} {how}: {what}: {int(breaks.sum())}")
        rejected = broken["enforce"]
        print(
            f"{contract['id']} received={len(table)} accepted={int((~rejected).sum())} "
            f"warned={int((broken['warn'] & ~rejected).sum())} quarantined={int(rejected.sum())}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
