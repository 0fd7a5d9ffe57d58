//! Parentheses and the clauses within them: where a comma joins, and which select stands in which.

use super::word::Word;

/// Open parentheses that are told apart; deeper ones are only counted.
const LEVELS: usize = 4096;

/// The text, or what is in a pair of parentheses.
#[derive(Clone, Copy, Debug, Default)]
struct Level {
    select: bool,
    with: bool,
    set_operation: bool,
    /// Among the tables of a FROM: a comma is a join.
    from: bool,
    /// An UPDATE or DELETE may have a FROM, too.
    may_have_from: bool,
    /// It began where a table could stand.
    in_from: bool,
    /// Selects within selects in its parentheses so far, and in those of its common table expressions.
    within: u32,
    within_with: u32,
}

impl Level {
    /// Selects within selects, from this level in.
    fn depth(&self) -> u32 {
        let own = u32::from(self.select);
        // The expressions of WITH belong to the select after them, or to the set operation as a whole.
        let of_with = if self.with && !self.set_operation { own + self.within_with } else { self.within_with };
        (own + self.within).max(of_with)
    }
}

/// The token before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Before {
    #[default]
    Nothing,
    Word(Word),
    Sign(u8),
    Literal,
}

#[derive(Debug)]
pub(super) struct Clauses {
    levels: Vec<Level>,
    /// Open parentheses beyond those that are told apart.
    deeper: u64,
    before: Before,
    names_in_a_row: u32,
    first: Option<Word>,
    second: Option<Before>,
    in_statement: bool,
    pub(super) statements: u64,
    pub(super) max_depth: u32,
    pub(super) joins: u32,
    pub(super) selects: u32,
    pub(super) top_selects: u32,
    pub(super) aggregates: u32,
    pub(super) set_operations: u32,
    pub(super) tokens: u64,
    /// Tokens that SQL does not put so.
    pub(super) odd: u64,
    problem: Option<&'static str>,
    problem_in: u64,
}

impl Default for Clauses {
    fn default() -> Self {
        Self {
            levels: vec![Level::default()],
            deeper: 0,
            before: Before::Nothing,
            names_in_a_row: 0,
            first: None,
            second: None,
            in_statement: false,
            statements: 0,
            max_depth: 0,
            joins: 0,
            selects: 0,
            top_selects: 0,
            aggregates: 0,
            set_operations: 0,
            tokens: 0,
            odd: 0,
            problem: None,
            problem_in: 0,
        }
    }
}

impl Clauses {
    /// The first word is one that statements begin with; words that begin other text, too, need a semicolon.
    pub(super) fn begins_as_sql(&self, claimed: bool) -> bool {
        let heading = matches!(self.second, Some(Before::Sign(b',' | b':' | b'|' | b'=')));
        match self.first {
            _ if heading => false,
            Some(Word::Select | Word::With | Word::Statement | Word::Delete) => true,
            Some(Word::Command | Word::Update | Word::Values | Word::EndsFrom) => claimed || self.statements > 0,
            _ => false,
        }
    }

    pub(super) fn problem(&self) -> Option<String> {
        self.problem.map(|problem| format!("not SQL in statement {}: {problem}", self.problem_in))
    }

    /// A table's name comes next.
    pub(super) fn wants_table(&self) -> bool {
        matches!(self.before, Before::Word(Word::From | Word::Join))
    }

    fn tell(&mut self, problem: &'static str) {
        if self.problem.is_none() {
            self.problem = Some(problem);
            self.problem_in = self.statements + 1;
        }
    }

    fn token(&mut self, token: Before) {
        self.tokens += 1;
        if self.tokens == 2 {
            self.second = Some(token);
        }
        self.before = token;
        self.in_statement = true;
    }

    fn level(&mut self) -> &mut Level {
        let last = self.levels.len() - 1;
        &mut self.levels[last]
    }

    pub(super) fn word(&mut self, word: Word) {
        self.first.get_or_insert(word);
        let qualified = self.before == Before::Sign(b'.');
        let word = if qualified { Word::Name } else { word };
        self.names_in_a_row = if word == Word::Name && !qualified { self.names_in_a_row + 1 } else { 0 };
        // Two names in a row are one with its alias, a type or a function's argument; three are prose.
        self.odd += u64::from(self.names_in_a_row > 2);
        match word {
            Word::Select => self.select(),
            Word::With if matches!(self.before, Before::Nothing | Before::Sign(b'(') | Before::Word(_)) => {
                self.level().with |= !matches!(self.before, Before::Word(Word::Name));
            }
            Word::From => self.from(),
            Word::Join | Word::Apply => self.join(),
            Word::EndsFrom => self.level().from = false,
            // Rows in parentheses, with commas between them.
            Word::Values => (self.level().from, self.level().in_from) = (false, false),
            Word::SetOperation => {
                self.set_operations = self.set_operations.saturating_add(1);
                let level = self.level();
                level.from = false;
                level.set_operation = true;
            }
            // FOR UPDATE ends the tables of a FROM.
            Word::Update if self.level().from => self.level().from = false,
            Word::Update | Word::Delete => self.level().may_have_from = true,
            _ => {}
        }
        self.token(Before::Word(word));
    }

    fn select(&mut self) {
        self.selects = self.selects.saturating_add(1);
        let outermost = !self.levels.iter().rev().take(64).any(|level| level.select || level.with);
        self.top_selects = self.top_selects.saturating_add(u32::from(outermost || self.level().select));
        let level = self.level();
        level.select = true;
        level.from = false;
        level.in_from = false;
    }

    fn from(&mut self) {
        if self.before == Before::Word(Word::Distinct) {
            return;
        }
        if self.before == Before::Sign(b',') {
            self.tell("a comma stands before FROM");
        }
        let level = self.level();
        level.from = level.select || level.may_have_from || level.with;
    }

    fn join(&mut self) {
        if matches!(self.before, Before::Word(Word::Join | Word::From)) {
            self.tell("a table is missing before JOIN");
        }
        self.joins = self.joins.saturating_add(1);
        let level = self.level();
        level.from |= level.in_from;
    }

    pub(super) fn literal(&mut self) {
        self.names_in_a_row = 0;
        self.token(Before::Literal);
    }

    pub(super) fn sign(&mut self, byte: u8) {
        self.names_in_a_row = 0;
        match byte {
            b'(' => self.open(),
            b')' => self.close(),
            b',' => {
                let level = self.level();
                let joins = (level.from || level.in_from) && self.deeper == 0;
                self.joins = self.joins.saturating_add(u32::from(joins));
            }
            b'!' | b'\\' | b'{' | b'}' | b'~' | b'^' => self.odd += 1,
            _ => {}
        }
        self.token(Before::Sign(byte));
    }

    fn open(&mut self) {
        if matches!(self.before, Before::Word(Word::Aggregate)) {
            self.aggregates = self.aggregates.saturating_add(1);
        }
        if self.levels.len() == LEVELS {
            self.deeper += 1;
            return;
        }
        let before = self.before;
        let level = self.level();
        let table_place = matches!(before, Before::Word(Word::From | Word::Join) | Before::Sign(b',' | b'('));
        let in_from = (level.from || level.in_from) && table_place;
        self.levels.push(Level { in_from, ..Level::default() });
    }

    fn close(&mut self) {
        if self.deeper > 0 {
            self.deeper -= 1;
            return;
        }
        if self.levels.len() == 1 {
            return self.tell("a parenthesis is closed that was not opened");
        }
        let Some(closed) = self.levels.pop() else { return };
        let depth = closed.depth();
        let level = self.level();
        if level.with && !level.select {
            level.within_with = level.within_with.max(depth);
        } else {
            level.within = level.within.max(depth);
        }
    }

    /// At a semicolon, or at the end.
    pub(super) fn end_statement(&mut self) {
        if self.levels.len() > 1 {
            self.tell("a parenthesis is not closed");
        }
        self.deeper = 0;
        while self.levels.len() > 1 {
            self.close();
        }
        self.max_depth = self.max_depth.max(self.levels[0].depth());
        self.statements += u64::from(self.in_statement);
        self.in_statement = false;
        self.levels[0] = Level::default();
        self.before = Before::Nothing;
        self.names_in_a_row = 0;
    }
}
