//! SQL: statements, selects within selects, joins and what else costs, from the tokens alone.
//!
//! ```text
//! bytes ─► lexer: words, signs, literals; comments and quotes of all dialects ─► parentheses and clauses ─► counts
//! ```
//!
//! A level is kept for each open parenthesis, up to a bound: no dialect's grammar, no recursion, and text that is
//! wrong is counted as far as it goes.

mod clause;
mod lexer;
mod word;

use forebay_shared::DataType;

use self::clause::Clauses;
use self::lexer::Lexer;
use super::scanner::{End, Scanner};
use super::{Detail, Facts, Hint, extrapolate};

pub(super) struct Sql {
    lexer: Lexer,
    clauses: Clauses,
}

/// Whether content that starts so is SQL: a keyword first, and mostly what SQL is made of.
pub(super) fn looks_like(head: &[u8], whole: bool, hint: Hint) -> bool {
    // A script names its interpreter so; what follows may start as a statement does.
    if head.starts_with(b"#!") {
        return false;
    }
    let mut sql = Sql::new();
    sql.push(head);
    if whole {
        sql.lexer.end(&mut sql.clauses);
    }
    let clauses = &sql.clauses;
    let most_odd = if hint == Hint::Sql { 2 } else { 10 };
    clauses.begins_as_sql(hint == Hint::Sql)
        && clauses.odd * most_odd <= clauses.tokens
        && (clauses.tokens > 2 || hint == Hint::Sql)
}

impl Sql {
    pub(super) fn new() -> Self {
        Self { lexer: Lexer::default(), clauses: Clauses::default() }
    }
}

impl Scanner for Sql {
    fn push(&mut self, bytes: &[u8]) {
        self.lexer.push(bytes, &mut self.clauses);
    }

    fn finish(mut self: Box<Self>, end: End) -> (DataType, Facts) {
        let open = self.lexer.open();
        self.lexer.end(&mut self.clauses);
        let whole = self.clauses.statements;
        self.clauses.end_statement();
        let clauses = &self.clauses;
        let records = if end.cut() && whole > 0 {
            extrapolate::records(whole, self.lexer.last_semicolon, end.total)
        } else {
            clauses.statements
        };
        let cut_short = || open.map(|what| format!("cut short: {what} is not closed"));
        let facts = Facts {
            records: Some(records),
            max_depth: Some(clauses.max_depth),
            joins: Some(clauses.joins),
            detail: Detail {
                subqueries: Some(clauses.selects.saturating_sub(clauses.top_selects)),
                aggregates: Some(clauses.aggregates),
                set_operations: Some(clauses.set_operations),
                ..Detail::default()
            },
            problem: if end.cut() { None } else { cut_short().or_else(|| clauses.problem()) },
            ..Facts::default()
        };
        (DataType::Sql, facts)
    }
}

#[cfg(test)]
mod tests;
