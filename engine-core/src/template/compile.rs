//! From text to something that can be evaluated many times.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use minijinja::Expression;
use minijinja::machinery::ast::{CallArg, EmitExpr, Expr, Spanned, Stmt};
use minijinja::machinery::{parse, parse_expr};
use minijinja::syntax::SyntaxConfig;

use crate::limits::{TEMPLATE_CACHE_BYTES_MAX, TEMPLATE_CACHE_ENTRIES_MAX};

use super::SyntaxError;
use super::environment::ENVIRONMENT;
use super::guard::assert_shallow;
use super::rewrite::Rewriter;

/// A compiled scalar.
pub(super) struct Compiled {
    pub(super) body: Body,
    /// Top-level names that it uses.
    pub(super) names: BTreeSet<String>,
}

pub(super) enum Body {
    /// Exactly one expression.
    Lone(Box<Formula>),
    /// Text with expressions in it.
    Parts(Vec<Part>),
    /// Text with statements, in guarded form.
    Program(String),
}

pub(super) enum Part {
    Text(String),
    Formula(Box<Formula>),
}

/// One expression.
pub(super) struct Formula {
    pub(super) expression: Expression<'static, 'static>,
    /// The names of `a.b.c`, if it is nothing else.
    pub(super) path: Option<Vec<String>>,
    /// What is given to `tojson`, if that is its last step.
    pub(super) before_tojson: Option<Expression<'static, 'static>>,
    /// As it was written.
    pub(super) source: String,
}

/// Compiled texts by kind and text. It holds nothing that a result could depend on.
#[derive(Default)]
struct Cache {
    compiled: BTreeMap<(bool, String), Arc<Compiled>>,
    bytes: usize,
}

static CACHE: LazyLock<Mutex<Cache>> = LazyLock::new(Mutex::default);

/// Compiles text that holds templates.
pub(super) fn template(text: &str) -> Result<Arc<Compiled>, SyntaxError> {
    cached(false, text, compile_template)
}

/// Compiles a bare expression.
pub(super) fn formula(text: &str) -> Result<Arc<Compiled>, SyntaxError> {
    cached(true, text, compile_formula)
}

fn cached(
    is_expression: bool,
    text: &str,
    compile: fn(&str) -> Result<Compiled, SyntaxError>,
) -> Result<Arc<Compiled>, SyntaxError> {
    let key = (is_expression, text.to_owned());
    let lock = || CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(compiled) = lock().compiled.get(&key) {
        return Ok(Arc::clone(compiled));
    }
    let compiled = Arc::new(compile(text)?);
    let mut cache = lock();
    let is_full = cache.compiled.len() >= TEMPLATE_CACHE_ENTRIES_MAX
        || cache.bytes + text.len() > TEMPLATE_CACHE_BYTES_MAX;
    if is_full {
        *cache = Cache::default();
    }
    cache.bytes += text.len();
    cache.compiled.insert(key, Arc::clone(&compiled));
    Ok(compiled)
}

fn compile_formula(text: &str) -> Result<Compiled, SyntaxError> {
    assert_shallow(text, true)?;
    let tree = parse_expr(text).map_err(|error| from_parser(&error, text))?;
    let (formula, names) = compile_expression(&tree, text)?;
    Ok(Compiled { body: Body::Lone(formula), names })
}

/// The text of a statement `{{ ... }}`, without its braces.
fn inside<'t>(statement: &Spanned<EmitExpr<'_>>, text: &'t str) -> &'t str {
    let span = statement.span();
    let whole = text.get(span.start_offset as usize..span.end_offset as usize).unwrap_or(text);
    whole.trim_start_matches(['{', '-', '+']).trim_end_matches(['}', '-', '+']).trim()
}

fn compile_template(text: &str) -> Result<Compiled, SyntaxError> {
    assert_shallow(text, false)?;
    let tree = parse(text, "template", SyntaxConfig::default())
        .map_err(|error| from_parser(&error, text))?;
    let children = match &tree {
        Stmt::Template(template) => template.children.as_slice(),
        other => std::slice::from_ref(other),
    };
    let simple = |child: &Stmt<'_>| matches!(child, Stmt::EmitRaw(_) | Stmt::EmitExpr(_));
    if !children.iter().all(simple) {
        return compile_program(&tree);
    }
    let blank =
        |child: &&Stmt<'_>| matches!(child, Stmt::EmitRaw(raw) if raw.raw.trim().is_empty());
    let mut printed = children.iter().filter(|child| !blank(child));
    if let (Some(Stmt::EmitExpr(lone)), None) = (printed.next(), printed.next()) {
        let (formula, names) = compile_expression(&lone.expr, inside(lone, text))?;
        return Ok(Compiled { body: Body::Lone(formula), names });
    }
    let (mut parts, mut names) = (Vec::new(), BTreeSet::new());
    for child in children {
        match child {
            Stmt::EmitRaw(raw) => parts.push(Part::Text(raw.raw.to_owned())),
            Stmt::EmitExpr(emit) => {
                let (formula, used) = compile_expression(&emit.expr, inside(emit, text))?;
                parts.push(Part::Formula(formula));
                names.extend(used);
            }
            _ => {}
        }
    }
    Ok(Compiled { body: Body::Parts(parts), names })
}

fn compile_program(tree: &Stmt<'_>) -> Result<Compiled, SyntaxError> {
    let mut rewriter = Rewriter::new();
    rewriter.statements(std::slice::from_ref(tree))?;
    ENVIRONMENT.template_from_str(&rewriter.text).map_err(|error| too_complex(&error))?;
    Ok(Compiled { body: Body::Program(rewriter.text), names: rewriter.names })
}

fn compile_expression(
    tree: &Expr<'_>,
    source: &str,
) -> Result<(Box<Formula>, BTreeSet<String>), SyntaxError> {
    let (expression, names) = compile_tree(tree, "")?;
    let before_tojson = match before_tojson(tree) {
        // An undefined value has no JSON; the filter refuses it.
        Some(value) => Some(compile_tree(value, "|__measure")?.0),
        None => None,
    };
    let source = source.to_owned();
    let formula = Formula { expression, path: path(tree), before_tojson, source };
    Ok((Box::new(formula), names))
}

fn compile_tree(
    tree: &Expr<'_>,
    suffix: &str,
) -> Result<(Expression<'static, 'static>, BTreeSet<String>), SyntaxError> {
    let mut rewriter = Rewriter::new();
    rewriter.strict(tree)?;
    rewriter.put(suffix);
    let expression =
        ENVIRONMENT.compile_expression_owned(rewriter.text).map_err(|error| too_complex(&error))?;
    Ok((expression, rewriter.names))
}

fn path(tree: &Expr<'_>) -> Option<Vec<String>> {
    match tree {
        Expr::Var(var) => Some(vec![var.id.to_owned()]),
        Expr::GetAttr(attr) => extended(&attr.expr, attr.name),
        Expr::GetItem(item) => match &item.subscript_expr {
            Expr::Const(key) => extended(&item.expr, key.value.as_str()?),
            _ => None,
        },
        _ => None,
    }
}

fn extended(parent: &Expr<'_>, key: &str) -> Option<Vec<String>> {
    let mut path = path(parent)?;
    path.push(key.to_owned());
    Some(path)
}

/// What is given to `tojson`, where that is the last step.
fn before_tojson<'t, 's>(tree: &'t Expr<'s>) -> Option<&'t Expr<'s>> {
    match tree {
        Expr::Filter(filter) if matches!(filter.name, "tojson" | "to_json") => filter.expr.as_ref(),
        Expr::Call(call) => match (&call.expr, call.args.first()) {
            (Expr::Var(var), Some(CallArg::Pos(value))) if var.id == "tojson" => Some(value),
            _ => None,
        },
        _ => None,
    }
}

fn from_parser(error: &minijinja::Error, text: &str) -> SyntaxError {
    let message = error.detail().unwrap_or("syntax error").to_owned();
    let offset = error.range().map(|range| range.start);
    match offset.and_then(|offset| text.get(..offset)) {
        Some(before) => {
            let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
            SyntaxError {
                message,
                line: number(before.matches('\n').count() + 1),
                column: number(before[line_start..].chars().count() + 1),
            }
        }
        None => SyntaxError { message, line: number(error.line().unwrap_or(1)), column: 1 },
    }
}

fn too_complex(error: &minijinja::Error) -> SyntaxError {
    let detail = error.detail().unwrap_or("it does not compile");
    SyntaxError {
        message: format!("the template is too complex ({detail}); split it up"),
        line: 1,
        column: 1,
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
