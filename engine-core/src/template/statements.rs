//! Prints statements in their guarded form; see `rewrite.rs`.

use std::collections::BTreeSet;

use minijinja::machinery::Span;
use minijinja::machinery::ast::{CallBlock, Expr, ForLoop, IfCond, Macro, Stmt, WithBlock};

use super::rewrite::{Rewriter, Rewriting, error};

impl Rewriter {
    pub(super) fn statements(&mut self, statements: &[Stmt<'_>]) -> Rewriting {
        statements.iter().try_for_each(|statement| self.statement(statement))
    }

    fn statement(&mut self, statement: &Stmt<'_>) -> Rewriting {
        match statement {
            Stmt::Template(template) => self.statements(&template.children),
            Stmt::EmitRaw(raw) => {
                self.put("{{ ");
                self.literal(raw.raw);
                self.put(" }}");
                Ok(())
            }
            Stmt::EmitExpr(emit) => {
                self.put("{{ ");
                self.strict(&emit.expr)?;
                self.put(" }}");
                Ok(())
            }
            Stmt::ForLoop(each) => self.for_loop(each),
            Stmt::IfCond(condition) => self.if_condition(condition, "if"),
            Stmt::WithBlock(with) => self.with_block(with),
            Stmt::Set(set) => {
                self.assign(&set.target)?;
                self.put(" = ");
                self.strict(&set.expr)?;
                self.put(" %}");
                self.declare(&set.target);
                Ok(())
            }
            Stmt::SetBlock(set) => {
                self.assign(&set.target)?;
                if let Some(filter) = &set.filter {
                    self.put(" | ");
                    self.filter(filter)?;
                }
                self.put(" %}");
                self.block(&set.body, "{% endset %}")?;
                self.declare(&set.target);
                Ok(())
            }
            Stmt::FilterBlock(block) => {
                self.put("{% filter ");
                self.filter(&block.filter)?;
                self.put(" %}");
                self.block(&block.body, "{% endfilter %}")
            }
            Stmt::Macro(definition) => self.macro_definition(definition, definition.span()),
            Stmt::CallBlock(block) => self.call_block(block, block.span()),
            Stmt::Continue(_) => {
                self.put("{% continue %}");
                Ok(())
            }
            Stmt::Break(_) => {
                self.put("{% break %}");
                Ok(())
            }
            Stmt::Do(statement) => {
                self.put("{% do ");
                self.call(&statement.call, statement.span())?;
                self.put(" %}");
                Ok(())
            }
            Stmt::AutoEscape(other) => Err(unsupported("autoescape", other.span())),
            Stmt::Block(other) => Err(unsupported("block", other.span())),
            Stmt::Import(other) => Err(unsupported("import", other.span())),
            Stmt::FromImport(other) => Err(unsupported("from", other.span())),
            Stmt::Extends(other) => Err(unsupported("extends", other.span())),
            Stmt::Include(other) => Err(unsupported("include", other.span())),
        }
    }

    fn assign(&mut self, target: &Expr<'_>) -> Rewriting {
        let names = self.target_text(target)?;
        self.put("{% set ");
        self.put(&names);
        Ok(())
    }

    fn with_block(&mut self, with: &WithBlock<'_>) -> Rewriting {
        self.put("{% with ");
        for (index, (target, value)) in with.assignments.iter().enumerate() {
            self.put(if index > 0 { ", " } else { "" });
            let names = self.target_text(target)?;
            self.put(&names);
            self.put(" = ");
            self.strict(value)?;
        }
        self.put(" %}");
        self.scopes.push(BTreeSet::new());
        with.assignments.iter().for_each(|(target, _)| self.declare(target));
        self.statements(&with.body)?;
        self.scopes.pop();
        self.put("{% endwith %}");
        Ok(())
    }

    /// Prints statements with names of their own, and what ends them.
    fn block(&mut self, body: &[Stmt<'_>], end: &str) -> Rewriting {
        self.scopes.push(BTreeSet::new());
        self.statements(body)?;
        self.scopes.pop();
        self.put(end);
        Ok(())
    }

    fn if_condition(&mut self, condition: &IfCond<'_>, keyword: &str) -> Rewriting {
        self.put("{% ");
        self.put(keyword);
        self.put(" ");
        self.truth(&condition.expr)?;
        self.put(" %}");
        self.statements(&condition.true_body)?;
        match condition.false_body.as_slice() {
            [] => {}
            [Stmt::IfCond(next)] => return self.if_condition(next, "elif"),
            other => {
                self.put("{% else %}");
                self.statements(other)?;
            }
        }
        self.put("{% endif %}");
        Ok(())
    }

    fn for_loop(&mut self, each: &ForLoop<'_>) -> Rewriting {
        let names = self.target_text(&each.target)?;
        self.put("{% for ");
        self.put(&names);
        self.put(" in (");
        self.strict(&each.iter)?;
        self.put("|__measure)");
        self.scopes.push(BTreeSet::from(["loop".to_owned()]));
        self.declare(&each.target);
        if let Some(filter) = &each.filter_expr {
            self.put(" if ");
            self.truth(filter)?;
        }
        self.put(if each.recursive { " recursive %}" } else { " %}" });
        self.statements(&each.body)?;
        self.scopes.pop();
        if !each.else_body.is_empty() {
            self.put("{% else %}");
            self.statements(&each.else_body)?;
        }
        self.put("{% endfor %}");
        Ok(())
    }

    fn macro_definition(&mut self, definition: &Macro<'_>, span: Span) -> Rewriting {
        if definition.name.starts_with("__") {
            return Err(error("names cannot start with `__`", span));
        }
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(definition.name.to_owned());
        }
        self.put("{% macro ");
        self.put(definition.name);
        self.signature(definition)?;
        self.put(" %}");
        self.macro_body(definition, "{% endmacro %}")
    }

    fn call_block(&mut self, block: &CallBlock<'_>, span: Span) -> Rewriting {
        self.put("{% call");
        if !block.macro_decl.args.is_empty() {
            self.signature(&block.macro_decl)?;
        }
        self.put(" ");
        self.call(&block.call, span)?;
        self.put(" %}");
        self.macro_body(&block.macro_decl, "{% endcall %}")
    }

    fn macro_body(&mut self, definition: &Macro<'_>, end: &str) -> Rewriting {
        self.scopes.push(BTreeSet::from(["caller".to_owned()]));
        definition.args.iter().for_each(|arg| self.declare(arg));
        self.statements(&definition.body)?;
        self.scopes.pop();
        self.put(end);
        Ok(())
    }

    fn signature(&mut self, definition: &Macro<'_>) -> Rewriting {
        let required = definition.args.len().saturating_sub(definition.defaults.len());
        self.put("(");
        for (index, arg) in definition.args.iter().enumerate() {
            self.put(if index > 0 { ", " } else { "" });
            let name = self.target_text(arg)?;
            self.put(&name);
            if let Some(default) = index.checked_sub(required) {
                self.put("=");
                self.strict(&definition.defaults[default])?;
            }
        }
        self.put(")");
        Ok(())
    }

    /// The names that an assignment sets, as text.
    fn target_text(&self, target: &Expr<'_>) -> Result<String, super::SyntaxError> {
        match target {
            Expr::Var(var) if !var.id.starts_with("__") => Ok(var.id.to_owned()),
            Expr::List(list) => self.target_list(&list.items),
            Expr::Tuple(tuple) => self.target_list(&tuple.items),
            other => Err(error("only names can be assigned to", other.span())),
        }
    }

    fn target_list(&self, items: &[Expr<'_>]) -> Result<String, super::SyntaxError> {
        let names: Result<Vec<String>, _> =
            items.iter().map(|item| self.target_text(item)).collect();
        Ok(format!("({})", names?.join(", ")))
    }

    fn declare(&mut self, target: &Expr<'_>) {
        match target {
            Expr::Var(var) => {
                if let Some(scope) = self.scopes.last_mut() {
                    scope.insert(var.id.to_owned());
                }
            }
            Expr::List(list) => list.items.iter().for_each(|item| self.declare(item)),
            Expr::Tuple(tuple) => tuple.items.iter().for_each(|item| self.declare(item)),
            _ => {}
        }
    }
}

fn unsupported(statement: &str, span: Span) -> super::SyntaxError {
    error(format!("`{{% {statement} %}}` is not available: a playbook is one file"), span)
}
