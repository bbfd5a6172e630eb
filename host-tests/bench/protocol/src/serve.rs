//! The side that answers: a contestant on its standard input and output.

use std::io::{self, BufRead, Write};

use crate::harness::Rounds;
use crate::message::{Answer, Ask};
use crate::target::{Contestant, Failure};

/// Answers until there are no more questions.
///
/// # Errors
/// When it cannot read or write. What cannot be done or is not understood is an answer.
pub fn serve(
    contestant: impl Contestant,
    questions: impl BufRead,
    mut answers: impl Write,
) -> io::Result<()> {
    let mut rounds = Rounds::new(contestant);
    for line in questions.lines() {
        let line = line?;
        let answer = match serde_json::from_str(&line) {
            Ok(ask) => answer(&mut rounds, ask),
            Err(error) => Err(Failure::broken(error)),
        };
        let answer = answer.unwrap_or_else(|failure| Answer::Failed(failure.to_string()));
        serde_json::to_writer(&mut answers, &answer)?;
        answers.write_all(b"\n")?;
        answers.flush()?;
    }
    Ok(())
}

fn answer(rounds: &mut Rounds<impl Contestant>, ask: Ask) -> Result<Answer, Failure> {
    Ok(match ask {
        Ask::Fill(count) => Answer::Filled(rounds.fill(count)?),
        Ask::Time(operation, calls) => Answer::Took(rounds.time(operation, calls)?),
        Ask::Figure(figure) => Answer::Figure(rounds.figure(figure)?),
    })
}
