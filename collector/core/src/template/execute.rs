//! Walks a template's tree and writes its output.

use std::sync::Arc;

use watchfire_shared::document::Position;

use super::escape::Escaper;
use super::tree::{Body, Branch, Command, Node, Operand, OperandKind, Pipe};
use super::value::{MapKind, too_long};
use super::{
    Escape, Functions, MAX_OUTPUT_BYTES, MAX_RUN_DEPTH, MAX_STEPS, TemplateError, TemplateSet, Value, builtin, clock,
    value,
};

/// Renders one template of a set; `variables` are set before it begins.
pub(super) fn render(
    set: &TemplateSet,
    name: &str,
    data: &Value,
    variables: &[(&str, Value)],
    functions: &dyn Functions,
    escape: Escape,
) -> Result<String, TemplateError> {
    let Some(body) = set.bodies.get(name) else {
        let message = format!("template {name:?} not defined");
        let at = Position { line: 1, column: 1 };
        return Err(TemplateError { template: Arc::from(""), at, message });
    };
    let mut run = Run { set, functions, steps: 0, depth: 0, out: String::new(), escaper: Escaper::new(escape) };
    let mut scope = Scope { body, dot: data.clone(), variables: vec![("$".to_owned(), data.clone())] };
    scope.variables.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    run.nodes(&mut scope, &body.nodes)?;
    Ok(run.out)
}

/// What one rendering has used up and written.
struct Run<'a> {
    set: &'a TemplateSet,
    functions: &'a dyn Functions,
    steps: u32,
    depth: u32,
    out: String,
    escaper: Escaper,
}

/// What the nodes of one template see.
struct Scope<'a> {
    body: &'a Body,
    dot: Value,
    variables: Vec<(String, Value)>,
}

/// How the walk goes on after a node.
#[derive(Clone, Copy, PartialEq)]
enum Flow {
    On,
    Break,
    Continue,
}

type Outcome<T> = Result<T, TemplateError>;

impl Scope<'_> {
    fn error<T>(&self, at: Position, message: impl Into<String>) -> Outcome<T> {
        Err(TemplateError { template: self.body.source.clone(), at, message: message.into() })
    }

    fn located<T>(&self, at: Position, result: Result<T, String>) -> Outcome<T> {
        result.or_else(|message| self.error(at, message))
    }

    fn variable(&self, name: &str) -> Value {
        self.variables.iter().rev().find(|(own, _)| own == name).map_or(Value::Nil, |(_, value)| value.clone())
    }

    fn set_variable(&mut self, name: &str, value: Value) {
        if let Some((_, own)) = self.variables.iter_mut().rev().find(|(own, _)| own == name) {
            *own = value;
        }
    }
}

impl<'a> Run<'a> {
    fn step(&mut self, scope: &Scope<'_>, at: Position) -> Outcome<()> {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return scope.error(at, format!("the template takes more than {MAX_STEPS} steps"));
        }
        Ok(())
    }

    fn write(&mut self, scope: &Scope<'_>, at: Position, text: &str) -> Outcome<()> {
        if self.out.len() + text.len() > MAX_OUTPUT_BYTES {
            return scope.error(at, format!("the output is longer than {MAX_OUTPUT_BYTES} bytes"));
        }
        self.out.push_str(text);
        Ok(())
    }

    /// Goes one level down; the levels of all templates that call each other share one bound, for they share one stack.
    fn descend(&mut self, scope: &Scope<'_>, at: Position) -> Outcome<()> {
        self.depth += 1;
        if self.depth > MAX_RUN_DEPTH {
            return scope.error(at, format!("blocks and templates are nested more than {MAX_RUN_DEPTH} levels deep"));
        }
        Ok(())
    }

    fn nodes(&mut self, scope: &mut Scope<'a>, nodes: &'a [Node]) -> Outcome<Flow> {
        for node in nodes {
            let flow = match node {
                Node::Literal(text) => {
                    let at = Position { line: 1, column: 1 };
                    self.escaper.literal(text);
                    self.write(scope, at, text)?;
                    Flow::On
                }
                Node::Action(pipe) => {
                    let value = self.pipe(scope, pipe)?;
                    if pipe.variables.is_empty() {
                        let text = scope.located(pipe.at, self.escaper.value(&value))?;
                        self.write(scope, pipe.at, &text)?;
                    }
                    Flow::On
                }
                Node::If(branch) => self.condition(scope, branch, false)?,
                Node::With(branch) => self.condition(scope, branch, true)?,
                Node::Range(branch) => self.range(scope, branch)?,
                Node::Template { at, name, data } => {
                    let data = data.as_ref().map_or(Ok(Value::Nil), |pipe| self.pipe(scope, pipe))?;
                    self.template(scope, *at, name, data)?;
                    Flow::On
                }
                Node::Break => Flow::Break,
                Node::Continue => Flow::Continue,
            };
            if flow != Flow::On {
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    fn template(&mut self, scope: &Scope<'_>, at: Position, name: &str, data: Value) -> Outcome<()> {
        self.step(scope, at)?;
        let set = self.set;
        let Some(body) = set.bodies.get(name) else {
            return scope.error(at, format!("template {name:?} not defined"));
        };
        self.descend(scope, at)?;
        let mut inner = Scope { body, dot: data.clone(), variables: vec![("$".to_owned(), data)] };
        self.nodes(&mut inner, &body.nodes)?;
        self.depth -= 1;
        Ok(())
    }

    fn condition(&mut self, scope: &mut Scope<'a>, branch: &'a Branch, with: bool) -> Outcome<Flow> {
        let variables = scope.variables.len();
        self.descend(scope, branch.pipe.at)?;
        let value = self.pipe(scope, &branch.pipe)?;
        let flow = if !value.truth() {
            self.nodes(scope, &branch.otherwise)
        } else if with {
            let outer = std::mem::replace(&mut scope.dot, value);
            let flow = self.nodes(scope, &branch.then);
            scope.dot = outer;
            flow
        } else {
            self.nodes(scope, &branch.then)
        };
        scope.variables.truncate(variables);
        self.depth -= 1;
        flow
    }

    fn range(&mut self, scope: &mut Scope<'a>, branch: &'a Branch) -> Outcome<Flow> {
        let variables = scope.variables.len();
        self.descend(scope, branch.pipe.at)?;
        let over = self.pipe(scope, &branch.pipe)?;
        let inner = scope.variables.len();
        let mut rounds: Box<dyn Iterator<Item = (Value, Value)>> = match &over {
            Value::Nil => Box::new(std::iter::empty()),
            Value::List(list) => {
                let items = list.items.clone();
                Box::new(
                    (0..items.len())
                        .map(move |at| (Value::Integer(i64::try_from(at).unwrap_or(i64::MAX)), items[at].clone())),
                )
            }
            Value::Map(map) => {
                Box::new(map.entries.iter().map(|(key, value)| (Value::text(key.as_str()), value.clone())))
            }
            Value::Integer(count) => Box::new((0..*count).map(|at| (Value::Integer(at), Value::Integer(at)))),
            other => return scope.error(branch.pipe.at, format!("range can't iterate over {}", printed(other))),
        };
        let outer = scope.dot.clone();
        let mut flow = Flow::On;
        let mut ran = false;
        for (key, item) in rounds.by_ref() {
            ran = true;
            self.step(scope, branch.pipe.at)?;
            bind(scope, &branch.pipe, key, &item);
            scope.dot = item;
            let after = self.nodes(scope, &branch.then)?;
            scope.variables.truncate(inner);
            if after == Flow::Break {
                break;
            }
        }
        scope.dot = outer;
        if !ran {
            flow = self.nodes(scope, &branch.otherwise)?;
        }
        scope.variables.truncate(variables);
        self.depth -= 1;
        Ok(flow)
    }

    /// Evaluates a pipeline and declares or sets its variables.
    fn pipe(&mut self, scope: &mut Scope<'a>, pipe: &'a Pipe) -> Outcome<Value> {
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(scope, command, value)?);
        }
        let value = value.unwrap_or(Value::Nil);
        for name in &pipe.variables {
            if pipe.assigns {
                scope.set_variable(name, value.clone());
            } else {
                scope.variables.push((name.clone(), value.clone()));
            }
        }
        Ok(value)
    }

    fn command(&mut self, scope: &mut Scope<'a>, command: &'a Command, last: Option<Value>) -> Outcome<Value> {
        let first = &command.first;
        self.step(scope, first.at)?;
        if let (OperandKind::Function(name), true) = (&first.kind, first.fields.is_empty()) {
            return self.function(scope, first.at, name, &command.args, last);
        }
        let Some((method, path)) = first.fields.split_last() else {
            if !command.args.is_empty() || last.is_some() {
                return scope.error(first.at, "can't give an argument to something that is no function");
            }
            if let OperandKind::Nil = first.kind {
                return scope.error(first.at, "nil is not a command");
            }
            return self.base(scope, first);
        };
        let mut value = self.base(scope, first)?;
        for name in path {
            value = scope.located(first.at, field(&value, name, &[]))?;
        }
        let mut args = self.arguments(scope, &command.args)?;
        args.extend(last);
        scope.located(first.at, field(&value, method, &args))
    }

    fn arguments(&mut self, scope: &mut Scope<'a>, operands: &'a [Operand]) -> Outcome<Vec<Value>> {
        operands.iter().map(|operand| self.operand(scope, operand)).collect()
    }

    fn operand(&mut self, scope: &mut Scope<'a>, operand: &'a Operand) -> Outcome<Value> {
        let mut value = self.base(scope, operand)?;
        for name in &operand.fields {
            value = scope.located(operand.at, field(&value, name, &[]))?;
        }
        Ok(value)
    }

    /// The operand without its fields.
    fn base(&mut self, scope: &mut Scope<'a>, operand: &'a Operand) -> Outcome<Value> {
        Ok(match &operand.kind {
            OperandKind::Dot => scope.dot.clone(),
            OperandKind::Nil => Value::Nil,
            OperandKind::Bool(value) => Value::Bool(*value),
            OperandKind::Integer(value) => Value::Integer(*value),
            OperandKind::Float(value) => Value::Float(*value),
            OperandKind::Text(text) => Value::Text(text.clone()),
            OperandKind::Variable(name) => scope.variable(name),
            OperandKind::Function(name) => self.function(scope, operand.at, name, &[], None)?,
            OperandKind::Pipe(pipe) => {
                let variables = scope.variables.len();
                self.descend(scope, operand.at)?;
                let value = self.pipe(scope, pipe)?;
                self.depth -= 1;
                scope.variables.truncate(variables);
                value
            }
        })
    }

    fn function(
        &mut self,
        scope: &mut Scope<'a>,
        at: Position,
        name: &str,
        operands: &'a [Operand],
        last: Option<Value>,
    ) -> Outcome<Value> {
        self.step(scope, at)?;
        if matches!(name, "and" | "or") {
            return self.short_circuit(scope, at, name == "or", operands, last);
        }
        let mut args = self.arguments(scope, operands)?;
        args.extend(last);
        let result = match name {
            "tmpl" if self.functions.has("tmpl") => return self.rendered(scope, at, &args),
            _ if builtin::is_builtin(name) => builtin::call(name, &args),
            _ => self.functions.call(name, &args),
        };
        match result {
            Ok(Value::Text(text)) if text.len() > MAX_OUTPUT_BYTES => {
                scope.error(at, format!("{name}: {}", too_long()))
            }
            Ok(value) => Ok(self.escaper.escaped_by(name, value)),
            Err(message) => scope.error(at, format!("error calling {name}: {message}")),
        }
    }

    /// `and` ends at the first false argument, `or` at the first true one; what follows is not evaluated.
    fn short_circuit(
        &mut self,
        scope: &mut Scope<'a>,
        at: Position,
        until: bool,
        operands: &'a [Operand],
        last: Option<Value>,
    ) -> Outcome<Value> {
        let mut value = None;
        for operand in operands {
            let next = self.operand(scope, operand)?;
            if next.truth() == until {
                return Ok(next);
            }
            value = Some(next);
        }
        match last.or(value) {
            Some(value) => Ok(value),
            None => scope.error(at, "wrong number of args: want at least 1 got 0"),
        }
    }

    /// `tmpl "name" data`: a template's output as a value.
    fn rendered(&mut self, scope: &Scope<'_>, at: Position, args: &[Value]) -> Outcome<Value> {
        let [Value::Text(name), data] = args else {
            return scope.error(at, "error calling tmpl: it takes the name of a template and its data");
        };
        let outer = std::mem::take(&mut self.out);
        self.template(scope, at, name, data.clone())?;
        Ok(Value::text(std::mem::replace(&mut self.out, outer)))
    }
}

/// Gives a round's key and item to the variables of a range.
fn bind(scope: &mut Scope<'_>, pipe: &Pipe, key: Value, item: &Value) {
    let values = match pipe.variables.as_slice() {
        [] => return,
        [_] => vec![item.clone()],
        _ => vec![key, item.clone()],
    };
    for (name, value) in pipe.variables.iter().zip(values) {
        scope.set_variable(name, value);
    }
}

/// A field, a map's key or a method of a value.
fn field(of: &Value, name: &str, args: &[Value]) -> Result<Value, String> {
    if let Some(result) = builtin::method(of, name, args) {
        return result;
    }
    if let Some(result) = clock::method(of, name, args) {
        return result;
    }
    if !args.is_empty() {
        return Err(format!("{name} is not a method but has arguments"));
    }
    match of {
        Value::Struct(fields) => match fields.fields.iter().find(|(own, _)| *own == name) {
            Some((_, value)) => Ok(value.clone()),
            None => Err(format!("can't evaluate field {name} in type {}{}", of.type_name(), nearest(fields, name))),
        },
        Value::Map(map) => Ok(map.entries.get(name).cloned().unwrap_or_else(|| match map.kind {
            MapKind::Any => Value::Nil,
            MapKind::Strings | MapKind::Pairs => Value::text(""),
        })),
        Value::Nil => Err(format!("nil data; no entry for key {name:?}")),
        other => Err(format!("can't evaluate field {name} in type {}", other.type_name())),
    }
}

fn nearest(fields: &value::Struct, name: &str) -> String {
    let hint = watchfire_shared::document::nearest(name, fields.fields.iter().map(|(own, _)| *own));
    hint.map(|hint| format!(", did you mean .{hint}?")).unwrap_or_default()
}

fn printed(value: &Value) -> String {
    value.print().map(|text| text.chars().take(60).collect()).unwrap_or_default()
}
