//! Columns that are as wide as their widest cell.

use std::fmt::{self, Write};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Align {
    Left,
    Right,
}

pub(in crate::cli) struct Columns<const N: usize> {
    aligns: [Align; N],
    head: [String; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Columns<N> {
    pub(in crate::cli) fn new(head: [(&str, Align); N]) -> Self {
        Self {
            aligns: head.map(|(_, align)| align),
            head: head.map(|(name, _)| name.to_owned()),
            rows: Vec::new(),
        }
    }

    pub(in crate::cli) fn add(&mut self, row: [String; N]) {
        self.rows.push(row);
    }

    /// Writes the rows. Each line begins with `indent`; rows for which `is_red` holds are red.
    pub(in crate::cli) fn write(
        &self,
        out: &mut String,
        indent: &str,
        is_red: impl Fn(usize) -> bool,
    ) -> fmt::Result {
        writeln!(out, "{indent}{}", self.line(&self.head))?;
        for (index, row) in self.rows.iter().enumerate() {
            let line = self.line(row);
            if is_red(index) {
                writeln!(out, "{indent}\x1b[31m{line}\x1b[0m")?;
            } else {
                writeln!(out, "{indent}{line}")?;
            }
        }
        Ok(())
    }

    fn line(&self, cells: &[String; N]) -> String {
        let cells = (0..N).map(|column| {
            let (cell, width) = (&cells[column], self.width(column));
            match self.aligns[column] {
                Align::Left => format!("{cell:<width$}"),
                Align::Right => format!("{cell:>width$}"),
            }
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        line.trim_end().to_owned()
    }

    fn width(&self, column: usize) -> usize {
        let rows = self.rows.iter().chain([&self.head]);
        rows.map(|row| row[column].chars().count()).max().unwrap_or(0)
    }
}
