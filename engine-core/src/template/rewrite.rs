//! Replaces what a template does with values by guarded operators.
//!
//! The template engine knows three answers to an undefined value, for a whole template. Jinja's
//! playbooks need two at once: `a.b.c is defined` must survive a missing `a.b`, and `a.b != true`
//! must not be true because of it (decision D46). And its operators allocate before they ask. So
//! the syntax tree is printed again, with paths, arithmetic, comparisons, slices and literals as
//! filters that `environment.rs` defines; the engine then compiles that text.

use std::collections::BTreeSet;

use minijinja::machinery::Span;
use minijinja::machinery::ast::{
    BinOpKind, Call, CallArg, CompareOpKind, Expr, Slice, UnaryOpKind,
};
use minijinja::value::{Value, ValueKind};

use crate::limits::TEMPLATE_GUARDED_BYTES_MAX;

use super::SyntaxError;
use super::environment::{FILTER_NAMES, FUNCTIONS, TESTS};
use super::path::suggestion;

/// Prints one syntax tree in its guarded form.
pub(super) struct Rewriter {
    pub(super) text: String,
    /// Names that come from outside.
    pub(super) names: BTreeSet<String>,
    /// Names that the template itself declares, innermost last.
    pub(super) scopes: Vec<BTreeSet<String>>,
}

pub(super) type Rewriting = Result<(), SyntaxError>;

/// One of the ways to print an expression.
type Print = fn(&mut Rewriter, &Expr<'_>) -> Rewriting;

pub(super) fn error(message: impl Into<String>, span: Span) -> SyntaxError {
    SyntaxError {
        message: message.into(),
        line: u32::from(span.start_line.max(1)),
        column: u32::from(span.start_col) + 1,
    }
}

impl Rewriter {
    pub(super) fn new() -> Self {
        Self { text: String::new(), names: BTreeSet::new(), scopes: vec![BTreeSet::new()] }
    }

    pub(super) fn put(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Prints an expression whose undefined names are errors.
    pub(super) fn strict(&mut self, expr: &Expr<'_>) -> Rewriting {
        if self.text.len() > TEMPLATE_GUARDED_BYTES_MAX {
            return Err(error("the template is too complex; split it up", expr.span()));
        }
        match expr {
            Expr::Var(_) | Expr::GetAttr(_) | Expr::GetItem(_) => self.path(expr, "__strict"),
            Expr::Const(constant) => self.constant(&constant.value, constant.span()),
            Expr::Slice(slice) => self.slice(slice),
            Expr::UnaryOp(unary) => {
                self.put(match unary.op {
                    UnaryOpKind::Not => "(not ",
                    UnaryOpKind::Neg => "(0|__calculate(\"-\", ",
                });
                match unary.op {
                    UnaryOpKind::Not => self.truth(&unary.expr)?,
                    UnaryOpKind::Neg => self.strict(&unary.expr)?,
                }
                self.put(match unary.op {
                    UnaryOpKind::Not => ")",
                    UnaryOpKind::Neg => "))",
                });
                Ok(())
            }
            Expr::BinOp(_) => self.binary(expr, Self::strict),
            Expr::Compare(compare) => {
                self.put("(");
                self.strict(&compare.expr)?;
                self.put("|__compare(");
                for (index, op) in compare.ops.iter().enumerate() {
                    self.separate(index);
                    self.literal(compare_spelling(op.op));
                    self.put(", ");
                    self.strict(&op.expr)?;
                }
                self.put("))");
                Ok(())
            }
            Expr::IfExpr(_) => self.choice(expr, Self::strict),
            Expr::Filter(_) => self.filter(expr),
            Expr::Test(_) => self.test(expr),
            Expr::Call(call) => self.call(call, call.span()),
            Expr::List(list) => self.literal_of("[", &list.items, "]"),
            Expr::Tuple(tuple) => self.literal_of("[", &tuple.items, "]"),
            Expr::Map(map) => {
                self.put("({");
                for (index, (key, value)) in map.keys.iter().zip(&map.values).enumerate() {
                    self.separate(index);
                    self.strict(key)?;
                    self.put(": ");
                    self.strict(value)?;
                }
                self.put("}|__measure)");
                Ok(())
            }
        }
    }

    /// Prints an expression that may be undefined: under `is defined` and `default`.
    pub(super) fn lenient(&mut self, expr: &Expr<'_>) -> Rewriting {
        match expr {
            Expr::Var(_) | Expr::GetAttr(_) | Expr::GetItem(_) => self.path(expr, "__lenient"),
            Expr::IfExpr(_) => self.choice(expr, Self::lenient),
            _ => self.strict(expr),
        }
    }

    /// Prints an expression of which only the truth is asked.
    pub(super) fn truth(&mut self, expr: &Expr<'_>) -> Rewriting {
        match expr {
            Expr::Var(_) | Expr::GetAttr(_) | Expr::GetItem(_) => self.path(expr, "__truth"),
            Expr::IfExpr(_) => self.choice(expr, Self::truth),
            Expr::BinOp(_) => self.binary(expr, Self::truth),
            _ => self.strict(expr),
        }
    }

    fn separate(&mut self, index: usize) {
        if index > 0 {
            self.put(", ");
        }
    }

    fn path(&mut self, expr: &Expr<'_>, operator: &str) -> Rewriting {
        let mut keys = Vec::new();
        let mut root = expr;
        loop {
            root = match root {
                Expr::GetAttr(attr) => {
                    keys.push(Key::Name(attr.name));
                    &attr.expr
                }
                Expr::GetItem(item) => {
                    keys.push(Key::Item(&item.subscript_expr));
                    &item.expr
                }
                _ => break,
            };
        }
        self.put("(");
        let name = match root {
            Expr::Var(var) => {
                self.name(var.id, var.span())?;
                Some(var.id)
            }
            other => {
                if operator == "__lenient" {
                    self.lenient(other)?;
                } else {
                    self.strict(other)?;
                }
                None
            }
        };
        self.put("|");
        self.put(operator);
        self.put("(");
        match name {
            Some(name) => self.literal(name),
            None => self.put("none"),
        }
        for key in keys.iter().rev() {
            self.put(", ");
            match key {
                Key::Name(name) => self.literal(name),
                Key::Item(Expr::Const(_)) => self.strict_key(key)?,
                Key::Item(item) if operator == "__lenient" => self.lenient(item)?,
                Key::Item(item) => self.strict(item)?,
            }
        }
        self.put("))");
        Ok(())
    }

    fn strict_key(&mut self, key: &Key<'_>) -> Rewriting {
        match key {
            Key::Item(item) => self.strict(item),
            Key::Name(name) => {
                self.literal(name);
                Ok(())
            }
        }
    }

    fn name(&mut self, name: &str, span: Span) -> Rewriting {
        if name.starts_with("__") {
            return Err(error(format!("names cannot start with `__`: `{name}`"), span));
        }
        if !self.is_local(name) {
            self.names.insert(name.to_owned());
        }
        self.put(name);
        Ok(())
    }

    pub(super) fn is_local(&self, name: &str) -> bool {
        self.scopes.iter().any(|scope| scope.contains(name))
    }

    fn constant(&mut self, value: &Value, span: Span) -> Rewriting {
        match value.kind() {
            ValueKind::String => self.literal(value.as_str().unwrap_or_default()),
            ValueKind::None => self.put("none"),
            ValueKind::Bool => self.put(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number if value.is_integer() => self.put(&value.to_string()),
            ValueKind::Number => {
                let float = f64::try_from(value.clone()).unwrap_or(f64::NAN);
                if !float.is_finite() {
                    return Err(error("the number is too large", span));
                }
                let digits = format!("{float}");
                let point = if digits.contains('.') { "" } else { ".0" };
                self.put(&format!("{digits}{point}"));
            }
            _ => return Err(error("unexpected constant", span)),
        }
        Ok(())
    }

    /// Prints text as a literal that is read back as the same text.
    pub(super) fn literal(&mut self, text: &str) {
        self.put("\"");
        for character in text.chars() {
            match character {
                '"' => self.put("\\\""),
                '\\' => self.put("\\\\"),
                '\n' => self.put("\\n"),
                '\r' => self.put("\\r"),
                other => self.text.push(other),
            }
        }
        self.put("\"");
    }

    fn literal_of(&mut self, open: &str, items: &[Expr<'_>], close: &str) -> Rewriting {
        self.put("(");
        self.put(open);
        for (index, item) in items.iter().enumerate() {
            self.separate(index);
            self.strict(item)?;
        }
        self.put(close);
        self.put("|__measure)");
        Ok(())
    }

    fn slice(&mut self, slice: &Slice<'_>) -> Rewriting {
        self.put("(");
        self.strict(&slice.expr)?;
        self.put("|__slice(");
        for (index, bound) in [&slice.start, &slice.stop, &slice.step].into_iter().enumerate() {
            self.separate(index);
            match bound {
                Some(bound) => self.strict(bound)?,
                None => self.put("none"),
            }
        }
        self.put("))");
        Ok(())
    }

    /// Prints an operator; `last` prints what `and` and `or` may leave as their value.
    fn binary(&mut self, expr: &Expr<'_>, last: Print) -> Rewriting {
        let Expr::BinOp(binary) = expr else { return self.strict(expr) };
        match binary.op {
            BinOpKind::ScAnd | BinOpKind::ScOr => {
                self.put("(");
                self.connected(expr, binary.op, last)?;
                self.put(")");
            }
            op if let Some(spelling) = arithmetic_spelling(op) => {
                self.put("(");
                self.calculation(&binary.left)?;
                self.operand(spelling, &binary.right)?;
                self.put("))");
            }
            op => {
                self.put("(");
                self.strict(&binary.left)?;
                self.put("|__compare(");
                self.literal(comparison_spelling(op));
                self.put(", ");
                self.strict(&binary.right)?;
                self.put("))");
            }
        }
        Ok(())
    }

    /// Prints `a and b and c` flat: a bracket for each would be a level for the parser.
    fn connected(&mut self, expr: &Expr<'_>, op: BinOpKind, last: Print) -> Rewriting {
        let word = if matches!(op, BinOpKind::ScAnd) { " and " } else { " or " };
        match expr {
            Expr::BinOp(binary) if same(binary.op, op) => {
                self.connected(&binary.left, op, Self::truth)?;
                self.put(word);
                last(self, &binary.right)
            }
            _ => last(self, expr),
        }
    }

    /// Prints the left side of an arithmetic operator, without the closing bracket.
    fn calculation(&mut self, left: &Expr<'_>) -> Rewriting {
        if let Expr::BinOp(binary) = left
            && let Some(spelling) = arithmetic_spelling(binary.op)
        {
            self.calculation(&binary.left)?;
            return self.operand(spelling, &binary.right);
        }
        self.strict(left)?;
        self.put("|__calculate(");
        Ok(())
    }

    fn operand(&mut self, spelling: &str, right: &Expr<'_>) -> Rewriting {
        self.separate(usize::from(!self.text.ends_with('(')));
        self.literal(spelling);
        self.put(", ");
        self.strict(right)
    }

    fn choice(&mut self, expr: &Expr<'_>, print: Print) -> Rewriting {
        let Expr::IfExpr(choice) = expr else { return self.strict(expr) };
        self.put("(");
        print(self, &choice.true_expr)?;
        self.put(" if ");
        self.truth(&choice.test_expr)?;
        if let Some(other) = &choice.false_expr {
            self.put(" else ");
            print(self, other)?;
        }
        self.put(")");
        Ok(())
    }

    /// Prints a filter, also one of a block, which has no value of its own.
    pub(super) fn filter(&mut self, expr: &Expr<'_>) -> Rewriting {
        let Expr::Filter(filter) = expr else { return self.strict(expr) };
        let name: String = filter.name.split_whitespace().collect();
        assert_known("filter", &name, &FILTER_NAMES, filter.span())?;
        if let Some(CallArg::Pos(Expr::Const(inner))) = filter.args.first()
            && name == "map"
            && let Some(inner_name) = inner.value.as_str()
        {
            assert_known("filter", inner_name, &FILTER_NAMES, inner.span())?;
        }
        if let Some(value) = &filter.expr {
            self.put("(");
            if matches!(name.as_str(), "default" | "d") {
                self.lenient(value)?;
            } else {
                self.filtered(value)?;
            }
            self.put("|");
        }
        self.put(&name);
        self.arguments(&filter.args)?;
        if filter.expr.is_some() {
            self.put(")");
        }
        Ok(())
    }

    /// Prints the value of a filter; a chain of filters needs no brackets.
    fn filtered(&mut self, value: &Expr<'_>) -> Rewriting {
        let before = self.text.len();
        self.strict(value)?;
        if matches!(value, Expr::Filter(_)) {
            self.text.remove(before);
            self.text.pop();
        }
        Ok(())
    }

    fn test(&mut self, expr: &Expr<'_>) -> Rewriting {
        let Expr::Test(test) = expr else { return self.strict(expr) };
        let name: String = test.name.split_whitespace().collect();
        assert_known("test", &name, &TESTS, test.span())?;
        self.put("(");
        if matches!(name.as_str(), "defined" | "undefined") {
            self.lenient(&test.expr)?;
        } else {
            self.strict(&test.expr)?;
        }
        self.put(" is ");
        self.put(&name);
        if !test.args.is_empty() {
            self.arguments(&test.args)?;
        }
        self.put(")");
        Ok(())
    }

    pub(super) fn call(&mut self, call: &Call<'_>, span: Span) -> Rewriting {
        match &call.expr {
            Expr::Var(var) if self.is_local(var.id) => {
                self.put(var.id);
                self.arguments(&call.args)
            }
            Expr::Var(var) if FUNCTIONS.contains(&var.id) => {
                self.put("(none|__fn_");
                self.put(var.id);
                self.arguments(&call.args)?;
                self.put(")");
                Ok(())
            }
            Expr::Var(var) => {
                let known: BTreeSet<&str> = FUNCTIONS.iter().copied().collect();
                assert_known("function", var.id, &known, var.span())
            }
            Expr::GetAttr(attr) => {
                self.strict(&attr.expr)?;
                self.put(".");
                self.put(attr.name);
                self.arguments(&call.args)
            }
            _ => Err(error("only functions and methods can be called", span)),
        }
    }

    fn arguments(&mut self, args: &[CallArg<'_>]) -> Rewriting {
        self.put("(");
        for (index, arg) in args.iter().enumerate() {
            self.separate(index);
            let value = match arg {
                CallArg::Pos(value) => value,
                CallArg::Kwarg(name, value) => {
                    self.put(name);
                    self.put("=");
                    value
                }
                CallArg::PosSplat(value) => {
                    self.put("*");
                    value
                }
                CallArg::KwargSplat(value) => {
                    self.put("**");
                    value
                }
            };
            self.strict(value)?;
        }
        self.put(")");
        Ok(())
    }
}

enum Key<'a> {
    Name(&'a str),
    Item(&'a Expr<'a>),
}

fn assert_known(what: &str, name: &str, known: &BTreeSet<&'static str>, span: Span) -> Rewriting {
    if known.contains(name) {
        return Ok(());
    }
    let advice = suggestion(name, known.iter().copied());
    let list = known.iter().copied().collect::<Vec<_>>().join(", ");
    Err(error(format!("unknown {what} `{name}`{advice}; known are {list}"), span))
}

fn same(a: BinOpKind, b: BinOpKind) -> bool {
    matches!((a, b), (BinOpKind::ScAnd, BinOpKind::ScAnd) | (BinOpKind::ScOr, BinOpKind::ScOr))
}

fn arithmetic_spelling(op: BinOpKind) -> Option<&'static str> {
    match op {
        BinOpKind::Add => Some("+"),
        BinOpKind::Sub => Some("-"),
        BinOpKind::Mul => Some("*"),
        BinOpKind::Div => Some("/"),
        BinOpKind::FloorDiv => Some("//"),
        BinOpKind::Rem => Some("%"),
        BinOpKind::Pow => Some("**"),
        BinOpKind::Concat => Some("~"),
        _ => None,
    }
}

fn comparison_spelling(op: BinOpKind) -> &'static str {
    match op {
        BinOpKind::Ne => "!=",
        BinOpKind::Lt => "<",
        BinOpKind::Lte => "<=",
        BinOpKind::Gt => ">",
        BinOpKind::Gte => ">=",
        BinOpKind::In => "in",
        _ => "==",
    }
}

fn compare_spelling(op: CompareOpKind) -> &'static str {
    match op {
        CompareOpKind::Eq => "==",
        CompareOpKind::Ne => "!=",
        CompareOpKind::Lt => "<",
        CompareOpKind::Lte => "<=",
        CompareOpKind::Gt => ">",
        CompareOpKind::Gte => ">=",
        CompareOpKind::In => "in",
        CompareOpKind::NotIn => "not in",
    }
}
