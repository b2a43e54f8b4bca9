//! Schema id to compiled schema: one request per id, positive and negative cache, budget.
