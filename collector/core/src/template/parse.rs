//! From tokens to trees. Unknown functions and undefined variables are found here, as in Go.

use std::collections::BTreeMap;
use std::sync::Arc;

use watchfire_shared::document::Position;

use super::lex::{Kind, Token, lex};
use super::tree::{Body, Branch, Command, Node, Operand, OperandKind, Pipe};
use super::{Functions, MAX_DEPTH, TemplateError, builtin};

/// Reads a text; returns the template itself and every template that it defines.
pub(super) fn parse(
    name: &str,
    text: &str,
    functions: &dyn Functions,
    variables: &[&str],
) -> Result<BTreeMap<String, Body>, TemplateError> {
    let source: Arc<str> = Arc::from(name);
    let mut parser = Parser {
        tokens: lex(&source, text)?,
        cursor: 0,
        source,
        functions,
        variables: std::iter::once("$").chain(variables.iter().copied()).map(str::to_owned).collect(),
        depth: 0,
        loops: 0,
        defined: BTreeMap::new(),
    };
    let (nodes, end) = parser.list()?;
    match end.kind {
        ListEnd::Text => {}
        ListEnd::End => return parser.error(end.at, "unexpected {{end}}"),
        ListEnd::Else => return parser.error(end.at, "unexpected {{else}}"),
    }
    parser.define(name.to_owned(), nodes);
    Ok(parser.defined)
}

struct Parser<'a> {
    /// Ends with [`Kind::End`], which the cursor never passes.
    tokens: Vec<Token>,
    cursor: usize,
    source: Arc<str>,
    functions: &'a dyn Functions,
    variables: Vec<String>,
    depth: u32,
    loops: u32,
    defined: BTreeMap<String, Body>,
}

struct Ended {
    at: Position,
    kind: ListEnd,
}

#[derive(PartialEq)]
enum ListEnd {
    Text,
    End,
    Else,
}

impl Parser<'_> {
    fn error<T>(&self, at: Position, message: impl Into<String>) -> Result<T, TemplateError> {
        Err(TemplateError { template: self.source.clone(), at, message: message.into() })
    }

    fn define(&mut self, name: String, nodes: Vec<Node>) {
        let body = Body { source: self.source.clone(), nodes };
        if !body.is_blank() || !self.defined.contains_key(&name) {
            self.defined.insert(name, body);
        }
    }

    fn next(&mut self) -> Token {
        let token = self.tokens[self.cursor].clone();
        self.cursor = (self.cursor + 1).min(self.tokens.len() - 1);
        token
    }

    fn skip_spaces(&mut self) {
        while *self.peek() == Kind::Space {
            self.next();
        }
    }

    fn next_word(&mut self) -> Token {
        self.skip_spaces();
        self.next()
    }

    fn peek(&self) -> &Kind {
        &self.tokens[self.cursor].kind
    }

    fn here(&self) -> Position {
        self.tokens[self.cursor].at
    }

    fn close(&mut self, context: &str) -> Result<(), TemplateError> {
        let token = self.next_word();
        if token.kind == Kind::Close { Ok(()) } else { self.unexpected(&token, context) }
    }

    fn unexpected<T>(&self, token: &Token, context: &str) -> Result<T, TemplateError> {
        self.error(token.at, format!("unexpected {} in {context}", describe(&token.kind)))
    }

    /// Nodes until the end of the text or an `end` or `else` at this level, whose word has been taken.
    fn list(&mut self) -> Result<(Vec<Node>, Ended), TemplateError> {
        self.depth += 1;
        let mut nodes = Vec::new();
        loop {
            let token = self.next();
            if self.depth > MAX_DEPTH {
                return self.error(token.at, format!("nested deeper than {MAX_DEPTH} levels"));
            }
            match token.kind {
                Kind::Literal(text) => nodes.push(Node::Literal(text)),
                Kind::Open => {
                    self.skip_spaces();
                    let end = match self.peek() {
                        Kind::Identifier(word) if word == "end" => ListEnd::End,
                        Kind::Identifier(word) if word == "else" => ListEnd::Else,
                        _ => {
                            nodes.extend(self.action(token.at)?);
                            continue;
                        }
                    };
                    self.next();
                    if end == ListEnd::End {
                        self.close("end")?;
                    }
                    self.depth -= 1;
                    return Ok((nodes, Ended { at: token.at, kind: end }));
                }
                _ => {
                    self.depth -= 1;
                    return Ok((nodes, Ended { at: token.at, kind: ListEnd::Text }));
                }
            }
        }
    }

    fn action(&mut self, at: Position) -> Result<Option<Node>, TemplateError> {
        let word = match self.peek() {
            Kind::Identifier(word) => word.clone(),
            _ => String::new(),
        };
        if !matches!(word.as_str(), "if" | "with" | "range" | "define" | "template" | "block" | "break" | "continue") {
            return Ok(Some(Node::Action(self.pipeline("command", &Kind::Close)?)));
        }
        self.next();
        match word.as_str() {
            "if" => Ok(Some(Node::If(self.branch("if", at)?))),
            "with" => Ok(Some(Node::With(self.branch("with", at)?))),
            "range" => Ok(Some(Node::Range(self.branch("range", at)?))),
            "define" => self.definition(at).map(|()| None),
            "template" => self.call_template(at).map(Some),
            "block" => self.block(at).map(Some),
            word => {
                self.close(word)?;
                if self.loops == 0 {
                    return self.error(at, format!("{{{{{word}}}}} outside {{{{range}}}}"));
                }
                Ok(Some(if word == "break" { Node::Break } else { Node::Continue }))
            }
        }
    }

    fn branch(&mut self, context: &str, at: Position) -> Result<Branch, TemplateError> {
        let scope = self.variables.len();
        let pipe = self.pipeline(context, &Kind::Close)?;
        self.loops += u32::from(context == "range");
        let (then, mut end) = self.list()?;
        self.loops -= u32::from(context == "range");
        let mut otherwise = Vec::new();
        if end.kind == ListEnd::Else {
            self.skip_spaces();
            let chained = match self.peek() {
                Kind::Identifier(word) if word == context && context != "range" => true,
                Kind::Close => false,
                _ => {
                    let token = self.next();
                    return self.unexpected(&token, "else");
                }
            };
            self.next();
            if chained {
                // `else if` is an `if` inside of the `else` that shares its `end`, and counts as a level.
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return self.error(end.at, format!("nested deeper than {MAX_DEPTH} levels"));
                }
                let inner = self.branch(context, end.at)?;
                self.depth -= 1;
                otherwise.push(if context == "if" { Node::If(inner) } else { Node::With(inner) });
                self.variables.truncate(scope);
                return Ok(Branch { pipe, then, otherwise });
            }
            (otherwise, end) = self.list()?;
        }
        self.variables.truncate(scope);
        match end.kind {
            ListEnd::End => Ok(Branch { pipe, then, otherwise }),
            ListEnd::Else => self.error(end.at, "expected {{end}}, found {{else}}"),
            ListEnd::Text => self.error(at, format!("{{{{{context}}}}} without its {{{{end}}}}")),
        }
    }

    fn name(&mut self, context: &str) -> Result<String, TemplateError> {
        let token = self.next_word();
        match token.kind {
            Kind::Text(name) => Ok(name),
            _ => self.unexpected(&token, context),
        }
    }

    fn definition(&mut self, at: Position) -> Result<(), TemplateError> {
        if self.depth > 1 {
            return self.error(at, "unexpected {{define}} inside of another block");
        }
        let name = self.name("define clause")?;
        self.close("define clause")?;
        let nodes = self.own_body(at, "define")?;
        self.define(name, nodes);
        Ok(())
    }

    /// The nodes of a template that begins here, up to its `end`; it sees no variable but `$`.
    fn own_body(&mut self, at: Position, context: &str) -> Result<Vec<Node>, TemplateError> {
        let outer = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let loops = std::mem::take(&mut self.loops);
        let (nodes, end) = self.list()?;
        self.variables = outer;
        self.loops = loops;
        match end.kind {
            ListEnd::End => Ok(nodes),
            ListEnd::Else => self.error(end.at, format!("unexpected {{{{else}}}} in {context}")),
            ListEnd::Text => self.error(at, format!("{{{{{context}}}}} without its {{{{end}}}}")),
        }
    }

    fn call_template(&mut self, at: Position) -> Result<Node, TemplateError> {
        let name = self.name("template clause")?;
        self.skip_spaces();
        let data = if *self.peek() == Kind::Close {
            self.next();
            None
        } else {
            Some(self.pipeline("template clause", &Kind::Close)?)
        };
        Ok(Node::Template { at, name, data })
    }

    fn block(&mut self, at: Position) -> Result<Node, TemplateError> {
        let name = self.name("block clause")?;
        let pipe = self.pipeline("block clause", &Kind::Close)?;
        let nodes = self.own_body(at, "block")?;
        self.define(name.clone(), nodes);
        Ok(Node::Template { at, name, data: Some(pipe) })
    }

    /// A pipeline and the token that ends it.
    fn pipeline(&mut self, context: &str, end: &Kind) -> Result<Pipe, TemplateError> {
        self.skip_spaces();
        let at = self.here();
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.error(at, format!("nested deeper than {MAX_DEPTH} levels"));
        }
        let (variables, assigns) = self.declaration(context)?;
        let mut commands: Vec<Command> = Vec::new();
        loop {
            self.skip_spaces();
            if self.peek() == end {
                self.next();
                break;
            }
            let command_at = self.here();
            let command = self.command(context)?;
            let callable = matches!(
                command.first.kind,
                OperandKind::Function(_) | OperandKind::Variable(_) | OperandKind::Pipe(_)
            );
            if !commands.is_empty() && !callable && command.first.fields.is_empty() {
                return self
                    .error(command_at, format!("non executable command in pipeline stage {}", commands.len() + 1));
            }
            commands.push(command);
            self.skip_spaces();
            if *self.peek() == Kind::Pipe {
                self.next();
                self.skip_spaces();
                if self.peek() == end {
                    return self.error(at, format!("missing value for {context}"));
                }
            } else if self.peek() != end {
                let token = self.next();
                return self.unexpected(&token, context);
            }
        }
        if commands.is_empty() {
            return self.error(at, format!("missing value for {context}"));
        }
        self.depth -= 1;
        if !assigns {
            self.variables.extend(variables.iter().cloned());
        }
        Ok(Pipe { at, variables, assigns, commands })
    }

    /// `$x :=`, `$x =` or, in a range, `$i, $x :=`, if it stands here.
    fn declaration(&mut self, context: &str) -> Result<(Vec<String>, bool), TemplateError> {
        let mut ahead = self.tokens[self.cursor..].iter().filter(|token| token.kind != Kind::Space);
        let mut names = Vec::new();
        let mut used = 0;
        loop {
            let Some(Token { kind: Kind::Variable(name), at }) = ahead.next() else { return Ok((Vec::new(), false)) };
            names.push(name.clone());
            used += 2;
            match ahead.next().map(|token| &token.kind) {
                Some(Kind::Declare) => break,
                Some(Kind::Assign) => {
                    for name in &names {
                        self.known_variable(*at, name)?;
                    }
                    self.skip_words(used);
                    return Ok((names, true));
                }
                Some(Kind::Comma) if context == "range" && names.len() < 2 => {}
                Some(Kind::Comma) => return self.error(*at, format!("too many declarations in {context}")),
                _ => return Ok((Vec::new(), false)),
            }
        }
        self.skip_words(used);
        Ok((names, false))
    }

    fn skip_words(&mut self, words: usize) {
        (0..words).for_each(|_| drop(self.next_word()));
    }

    fn known_variable(&self, at: Position, name: &str) -> Result<(), TemplateError> {
        if self.variables.iter().any(|known| known == name) {
            return Ok(());
        }
        self.error(at, format!("undefined variable {name:?}"))
    }

    fn command(&mut self, context: &str) -> Result<Command, TemplateError> {
        let first = self.operand(context)?;
        let mut args = Vec::new();
        while *self.peek() == Kind::Space {
            self.skip_spaces();
            if matches!(self.peek(), Kind::Pipe | Kind::Close | Kind::CloseParen) {
                break;
            }
            args.push(self.operand(context)?);
        }
        Ok(Command { first, args })
    }

    fn operand(&mut self, context: &str) -> Result<Operand, TemplateError> {
        let token = self.next();
        let at = token.at;
        let mut fields = Vec::new();
        let kind = match token.kind {
            Kind::Dot => OperandKind::Dot,
            Kind::Field(name) => {
                fields.push(name);
                OperandKind::Dot
            }
            Kind::Variable(name) => {
                self.known_variable(at, &name)?;
                OperandKind::Variable(name)
            }
            Kind::Integer(value) => OperandKind::Integer(value),
            Kind::Float(value) => OperandKind::Float(value),
            Kind::Text(text) => OperandKind::Text(text.into()),
            Kind::Identifier(word) => match word.as_str() {
                "true" => OperandKind::Bool(true),
                "false" => OperandKind::Bool(false),
                "nil" => OperandKind::Nil,
                name if builtin::is_builtin(name) || self.functions.has(name) => OperandKind::Function(word),
                name => return self.error(at, format!("function {name:?} not defined")),
            },
            Kind::OpenParen => OperandKind::Pipe(Box::new(self.pipeline("parenthesized pipeline", &Kind::CloseParen)?)),
            _ => return self.unexpected(&token, context),
        };
        let chains = matches!(kind, OperandKind::Variable(_) | OperandKind::Function(_) | OperandKind::Pipe(_))
            || !fields.is_empty();
        while let Token { at, kind: Kind::Field(name) } = self.tokens[self.cursor].clone() {
            self.next();
            if !chains {
                return self.error(at, format!("unexpected .{name} after a term that has no fields"));
            }
            fields.push(name);
        }
        Ok(Operand { at, kind, fields })
    }
}

fn describe(kind: &Kind) -> String {
    match kind {
        Kind::Literal(_) | Kind::Open | Kind::Space => "text".to_owned(),
        Kind::Close => "}}".to_owned(),
        Kind::Identifier(word) => format!("{word:?}"),
        Kind::Field(name) => format!(".{name}"),
        Kind::Variable(name) => name.clone(),
        Kind::Dot => ".".to_owned(),
        Kind::Integer(value) => value.to_string(),
        Kind::Float(value) => value.to_string(),
        Kind::Text(text) => format!("{text:?}"),
        Kind::Pipe => "|".to_owned(),
        Kind::OpenParen => "(".to_owned(),
        Kind::CloseParen => ")".to_owned(),
        Kind::Declare => ":=".to_owned(),
        Kind::Assign => "=".to_owned(),
        Kind::Comma => ",".to_owned(),
        Kind::End => "the end of the text".to_owned(),
    }
}
