//! The words of SQL that tell something.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Select,
    With,
    From,
    Join,
    Apply,
    /// Ends the list of tables of a FROM.
    EndsFrom,
    SetOperation,
    Distinct,
    Values,
    /// Begins another statement.
    Statement,
    /// Likewise, but begins other text as well.
    Command,
    Update,
    Delete,
    Aggregate,
    /// Another word of the language.
    Keyword,
    /// A name.
    Name,
}

/// The words of each kind; those of one letter are then looked for among those that start with it.
const KINDS: &[(Word, &[&str])] = &[
    (Word::Select, &["SELECT"]),
    (Word::With, &["WITH"]),
    (Word::From, &["FROM"]),
    (Word::Join, &["JOIN", "STRAIGHT_JOIN"]),
    (Word::Apply, &["APPLY"]),
    (
        Word::EndsFrom,
        &[
            "CLUSTER",
            "DISTRIBUTE",
            "FETCH",
            "GROUP",
            "HAVING",
            "LIMIT",
            "OFFSET",
            "ORDER",
            "QUALIFY",
            "RETURNING",
            "SET",
            "SORT",
            "WHERE",
            "WINDOW",
        ],
    ),
    (Word::SetOperation, &["EXCEPT", "INTERSECT", "MINUS", "UNION"]),
    (Word::Distinct, &["DISTINCT"]),
    (Word::Values, &["VALUES"]),
    (Word::Update, &["UPDATE"]),
    (Word::Delete, &["DELETE"]),
    (Word::Statement, &["ALTER", "CREATE", "DROP", "EXPLAIN", "GRANT", "INSERT", "MERGE", "REVOKE", "TRUNCATE"]),
    (
        Word::Command,
        &[
            "ANALYZE", "BEGIN", "CALL", "COMMENT", "COMMIT", "COPY", "DECLARE", "DESCRIBE", "LOCK", "PRAGMA",
            "ROLLBACK", "SHOW", "START", "UNLOCK", "USE", "VACUUM",
        ],
    ),
    (
        Word::Aggregate,
        &[
            "ANY_VALUE",
            "APPROX_COUNT_DISTINCT",
            "ARRAY_AGG",
            "AVG",
            "BIT_AND",
            "BIT_OR",
            "BOOL_AND",
            "BOOL_OR",
            "CORR",
            "COUNT",
            "COVAR_POP",
            "COVAR_SAMP",
            "GROUPING",
            "GROUP_CONCAT",
            "JSON_AGG",
            "JSON_OBJECT_AGG",
            "LISTAGG",
            "MAX",
            "MEDIAN",
            "MIN",
            "PERCENTILE_CONT",
            "PERCENTILE_DISC",
            "STDDEV",
            "STDDEV_POP",
            "STDDEV_SAMP",
            "STRING_AGG",
            "SUM",
            "VARIANCE",
            "VAR_POP",
            "VAR_SAMP",
        ],
    ),
    (
        Word::Keyword,
        &[
            "ADD",
            "ALL",
            "AND",
            "ANY",
            "AS",
            "ASC",
            "BETWEEN",
            "BIGINT",
            "BOOLEAN",
            "BY",
            "CASCADE",
            "CASE",
            "CAST",
            "CHAR",
            "CHECK",
            "COLLATE",
            "COLUMN",
            "CONFLICT",
            "CONSTRAINT",
            "CROSS",
            "CURRENT",
            "CURRENT_DATE",
            "CURRENT_TIMESTAMP",
            "DATABASE",
            "DATE",
            "DECIMAL",
            "DEFAULT",
            "DESC",
            "DO",
            "DOUBLE",
            "ELSE",
            "END",
            "ENGINE",
            "EXISTS",
            "EXTRACT",
            "FALSE",
            "FILTER",
            "FIRST",
            "FLOAT",
            "FOR",
            "FOREIGN",
            "FULL",
            "FUNCTION",
            "IF",
            "ILIKE",
            "IN",
            "INDEX",
            "INNER",
            "INT",
            "INTEGER",
            "INTERVAL",
            "INTO",
            "IS",
            "KEY",
            "LANGUAGE",
            "LAST",
            "LATERAL",
            "LEFT",
            "LIKE",
            "LOCAL",
            "MATCHED",
            "MATERIALIZED",
            "NATURAL",
            "NOT",
            "NULL",
            "NULLS",
            "NUMERIC",
            "OF",
            "ON",
            "ONLY",
            "OR",
            "OUTER",
            "OVER",
            "OWNER",
            "PARTITION",
            "PRECISION",
            "PRIMARY",
            "PROCEDURE",
            "RANGE",
            "RECURSIVE",
            "REFERENCES",
            "REPLACE",
            "RESTRICT",
            "RETURNS",
            "RIGHT",
            "ROW",
            "ROWS",
            "SCHEMA",
            "SEQUENCE",
            "SERIAL",
            "SMALLINT",
            "TABLE",
            "TEMP",
            "TEMPORARY",
            "TEXT",
            "THEN",
            "TIME",
            "TIMESTAMP",
            "TO",
            "TRANSACTION",
            "TRIGGER",
            "TRUE",
            "TYPE",
            "UNIQUE",
            "USING",
            "VARCHAR",
            "VARYING",
            "VIEW",
            "WHEN",
            "WITHOUT",
            "ZONE",
        ],
    ),
];

/// Words that start with one letter; there are no more of any.
const MOST: usize = 24;

/// By first letter: the kind of each word, and where in its kind it stands.
const BY_LETTER: [[Option<(Word, &str)>; MOST]; 26] = by_letter();

const fn by_letter() -> [[Option<(Word, &'static str)>; MOST]; 26] {
    let mut table = [[None; MOST]; 26];
    let mut kind = 0;
    while kind < KINDS.len() {
        let (word, names) = KINDS[kind];
        let mut at = 0;
        while at < names.len() {
            let row = &mut table[(names[at].as_bytes()[0] - b'A') as usize];
            let mut slot = 0;
            while row[slot].is_some() {
                slot += 1;
            }
            row[slot] = Some((word, names[at]));
            at += 1;
        }
        kind += 1;
    }
    table
}

impl Word {
    /// The word that these letters, in upper case, are.
    pub(super) fn of(upper: &[u8]) -> Self {
        let letter = upper.first().map_or(0, |first| first.wrapping_sub(b'A'));
        let row = BY_LETTER.get(usize::from(letter)).into_iter().flatten();
        let found =
            row.map_while(|entry| *entry).find(|(_, name)| name.len() == upper.len() && name.as_bytes() == upper);
        found.map_or(Self::Name, |(word, _)| word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_found_and_names_are_not() {
        for (word, names) in KINDS {
            assert!(names.iter().all(|name| Word::of(name.as_bytes()) == *word));
        }
        for name in ["", "A", "SELECTED", "_", "Z9", "FRO", "\u{e9}"] {
            assert_eq!(Word::of(name.as_bytes()), Word::Name);
        }
    }
}
