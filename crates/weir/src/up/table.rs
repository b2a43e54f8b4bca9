//! The live table: counts in, lines out. It knows neither the services nor the terminal.

use router::ViewStatus;

use crate::mesh::Product;
use crate::output::thousands;

/// How many reasons a line names.
const REASONS: usize = 3;
const HEADER: [&str; 8] = ["PRODUCT", "RECEIVED", "ACCEPTED", "WARNED", "QUARANTINED", "RATE/S", "LAG", "TOP REASONS"];

/// The table with a header and a line of totals; `before` is the state `seconds` ago, for the rates.
pub fn products(products: &[Product], before: &[Product], seconds: f64) -> String {
    let mut rows: Vec<[String; 8]> = vec![HEADER.map(str::to_owned)];
    let mut total = Product { topic: "total".to_owned(), lag: Some(0), ..Product::default() };
    let mut total_rate = 0.0;
    for product in products {
        let old = before.iter().find(|old| old.topic == product.topic).map_or(0, |old| old.received);
        let rate = if seconds > 0.0 { product.received.saturating_sub(old) as f64 / seconds } else { 0.0 };
        total_rate += rate;
        total.received += product.received;
        total.accepted += product.accepted;
        total.warned += product.warned;
        total.quarantined += product.quarantined;
        total.lag = total.lag.zip(product.lag).map(|(sum, lag)| sum + lag);
        rows.push(row(product, rate));
    }
    rows.push(row(&total, total_rate));
    lay_out(&rows)
}

/// The views with a header; nothing is summed up, for some read what others write.
pub fn views(views: &[ViewStatus]) -> String {
    let mut rows =
        vec![["VIEW", "RECEIVED", "EMITTED", "DELETED", "LATE", "QUARANTINED", "LAG", ""].map(str::to_owned)];
    for view in views {
        let lag: i64 = view.tasks.iter().map(|task| task.lag).sum();
        let refused = view.refused.as_ref().map(|refusal| format!("refused: {}", refusal.reason));
        let waits = view.tasks.iter().find_map(|task| task.waits.clone());
        rows.push([
            view.id.clone(),
            thousands(view.total.received),
            thousands(view.total.emitted),
            thousands(view.total.deleted),
            thousands(view.total.late),
            thousands(view.total.quarantined),
            if view.tasks.is_empty() { "-".to_owned() } else { thousands(lag.max(0) as u64) },
            view.blocked.clone().or(refused).or(waits).unwrap_or_default(),
        ]);
    }
    lay_out(&rows)
}

/// The lines of a table, none of them with more characters than this.
pub fn cut(table: &str, columns: usize) -> String {
    let lines: Vec<String> = table.lines().map(|line| line.chars().take(columns).collect()).collect();
    lines.join("\n")
}

/// Cells below each other: names and reasons to the left, numbers to the right.
fn lay_out(rows: &[[String; 8]]) -> String {
    let mut widths = [0; 8];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let lines: Vec<String> = rows.iter().map(|row| line(row, &widths)).collect();
    lines.join("\n")
}

fn row(product: &Product, rate: f64) -> [String; 8] {
    let reasons: Vec<String> =
        product.reasons.iter().take(REASONS).map(|(reason, times)| format!("{reason} {}", thousands(*times))).collect();
    [
        product.topic.clone(),
        thousands(product.received),
        thousands(product.accepted),
        thousands(product.warned),
        thousands(product.quarantined),
        if rate < 10.0 { format!("{rate:.1}") } else { thousands(rate.round() as u64) },
        product.lag.map_or_else(|| "-".to_owned(), thousands),
        reasons.join(", "),
    ]
}

fn line(row: &[String; 8], widths: &[usize; 8]) -> String {
    let mut line = String::new();
    for (index, (cell, width)) in row.iter().zip(widths).enumerate() {
        if index > 0 {
            line.push_str("  ");
        }
        match index {
            0 => line.push_str(&format!("{cell:<width$}")),
            7 => line.push_str(cell),
            _ => line.push_str(&format!("{cell:>width$}")),
        }
    }
    line.truncate(line.trim_end().len());
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_header_a_line_per_product_and_totals() {
        let before = [Product { topic: "sales.transactions".to_owned(), received: 1_000, ..Product::default() }];
        let products = [
            Product {
                topic: "sales.transactions".to_owned(),
                received: 3_345,
                accepted: 3_300,
                warned: 2,
                quarantined: 45,
                lag: Some(7),
                reasons: vec![("FIELD_RANGE quantity".to_owned(), 40), ("RULE_FAILED coupons".to_owned(), 5)],
            },
            Product { topic: "marketing.coupons".to_owned(), received: 3, accepted: 3, ..Product::default() },
        ];
        assert_eq!(
            super::products(&products, &before, 2.0),
            "\
PRODUCT             RECEIVED  ACCEPTED  WARNED  QUARANTINED  RATE/S  LAG  TOP REASONS
sales.transactions     3,345     3,300       2           45   1,173    7  FIELD_RANGE quantity 40, RULE_FAILED coupons 5
marketing.coupons          3         3       0            0     1.5    -
total                  3,348     3,303       2           45   1,174    -"
        );
    }

    #[test]
    fn a_view_shows_what_became_of_its_records_and_why_it_waits() {
        let mut total = router::board::Total { received: 1_200, emitted: 900, deleted: 3, ..Default::default() };
        let task = router::board::TaskStatus {
            stage: 0,
            partition: 0,
            worker: 0,
            lag: 12,
            waits: Some("registry: away".to_owned()),
            positions: Default::default(),
        };
        let view = |id: &str, total, tasks| ViewStatus {
            id: id.to_owned(),
            version: None,
            topic: None,
            operator: None,
            refused: None,
            blocked: None,
            total,
            tasks,
        };
        let running = view("customer.customer_360", total, vec![task]);
        total = Default::default();
        assert_eq!(
            views(&[running, view("sales.new", total, Vec::new())]),
            "\
VIEW                   RECEIVED  EMITTED  DELETED  LATE  QUARANTINED  LAG
customer.customer_360     1,200      900        3     0            0   12  registry: away
sales.new                     0        0        0     0            0    -"
        );
    }

    #[test]
    fn a_line_is_cut_and_an_empty_one_stays() {
        assert_eq!(cut("a long line\n\nshort", 6), "a long\n\nshort");
        assert_eq!(cut("Käufe je Woche", 5), "Käufe");
    }

    #[test]
    fn nothing_is_known_at_first() {
        assert_eq!(
            products(&[], &[], 0.0),
            "\
PRODUCT  RECEIVED  ACCEPTED  WARNED  QUARANTINED  RATE/S  LAG  TOP REASONS
total           0         0       0            0     0.0    0"
        );
    }
}
