//! Options that a script carries in its own first lines, as batch systems do it:
//!
//! ```sh
//! #!/bin/bash
//! #BOWLINE --name nightly --memory 2GiB
//! #BOWLINE --retries 2
//! ```
//!
//! They stand above the first line that is neither a comment nor empty, and weigh less than what the
//! command line says.

use crate::exit::Trouble;

/// What marks a line.
const MARK: &str = "#BOWLINE";

/// The options, as words, in their order.
pub(super) fn options(text: &str) -> Result<Vec<String>, Trouble> {
    let mut words = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_end();
        if !line.is_empty() && !line.starts_with('#') {
            break;
        }
        let Some(rest) = line.strip_prefix(MARK) else { continue };
        if !rest.is_empty() && !rest.starts_with([' ', '\t']) {
            continue;
        }
        split(rest, &mut words)
            .map_err(|what| Trouble::usage(format!("Line {} of the script: {what}.", number + 1)))?;
    }
    Ok(words)
}

/// Words with quotes and backslashes, as a shell reads them, without any expansion.
fn split(line: &str, words: &mut Vec<String>) -> Result<(), String> {
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None | Some('"'), '\\') => {
                let next = chars.next().ok_or("it ends in a backslash")?;
                word.get_or_insert_default().push(next);
            }
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ' | '\t') => words.extend(word.take()),
            (None, '#') if word.is_none() => return Ok(()),
            (Some(_) | None, c) => word.get_or_insert_default().push(c),
        }
    }
    if let Some(open) = quote {
        return Err(format!("the quote {open} is not closed"));
    }
    words.extend(word);
    Ok(())
}

/// The program that a script asks for in its first line (`#!`), with its arguments. `None`: it asks
/// for none, and `/bin/sh` runs it.
pub(super) fn interpreter(text: &str) -> Option<Vec<String>> {
    let line = text.lines().next()?.strip_prefix("#!")?.trim();
    let (program, argument) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let argument = argument.trim();
    // As the kernel does it: everything behind the program is one argument.
    let mut words = vec![program.to_owned()];
    if !argument.is_empty() {
        words.push(argument.to_owned());
    }
    (!program.is_empty()).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_stand_above_the_first_command() {
        let text = "#!/bin/bash\n# a remark\n#BOWLINE --name 'my job' --label a=\"b c\" # why\n\n#BOWLINEX --no\n#BOWLINE --retries 2\necho\n#BOWLINE --late\n";
        assert_eq!(options(text).unwrap(), ["--name", "my job", "--label", "a=b c", "--retries", "2"]);
    }

    #[test]
    fn what_cannot_be_read_names_its_line() {
        let error = options("#!/bin/sh\n#BOWLINE --name 'open\n").unwrap_err();
        assert_eq!(error.to_string(), "Line 2 of the script: the quote ' is not closed.");
    }

    #[test]
    fn the_first_line_names_the_interpreter() {
        assert_eq!(interpreter("#!/usr/bin/env python3\n"), Some(vec!["/usr/bin/env".into(), "python3".into()]));
        assert_eq!(interpreter("#! /bin/bash\n"), Some(vec!["/bin/bash".into()]));
        assert_eq!(interpreter("echo\n"), None);
        assert_eq!(interpreter("#!\n"), None);
    }
}
