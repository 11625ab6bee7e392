//! The terminal: a grid of characters with a cursor, and a transcript of all that was ever written.

/// Columns and rows of a computer's own screen.
pub const SIZE: (usize, usize) = (51, 19);

/// A terminal.
pub struct Screen {
    rows: Vec<Vec<u8>>,
    column: i64,
    row: i64,
    /// All that was written, a line for each print.
    pub transcript: Vec<u8>,
}

impl Default for Screen {
    fn default() -> Screen {
        let rows = vec![vec![b' '; SIZE.0]; SIZE.1];
        Screen { rows, column: 1, row: 1, transcript: Vec::new() }
    }
}

impl Screen {
    /// Writes at the cursor; what goes beyond the edges is cut.
    pub fn write(&mut self, text: &[u8]) {
        self.transcript.extend_from_slice(text);
        for &byte in text {
            let row = usize::try_from(self.row - 1).ok().and_then(|row| self.rows.get_mut(row));
            let column = usize::try_from(self.column - 1).ok();
            if let Some(cell) = row.zip(column).and_then(|(row, column)| row.get_mut(column)) {
                *cell = byte;
            }
            self.column += 1;
        }
    }

    /// The cursor's column and row, from 1.
    pub fn cursor(&self) -> (i64, i64) {
        (self.column, self.row)
    }

    /// Moves the cursor, off the screen too.
    pub fn set_cursor(&mut self, column: i64, row: i64) {
        (self.column, self.row) = (column, row);
    }

    /// Ends a line of the transcript.
    pub fn end_line(&mut self) {
        self.transcript.push(b'\n');
    }

    /// Moves everything up, or down.
    pub fn scroll(&mut self, lines: i64) {
        let moved = |row: i64| usize::try_from(row + lines).ok();
        let rows = (0..SIZE.1 as i64)
            .map(|row| moved(row).and_then(|from| self.rows.get(from)).cloned())
            .map(|row| row.unwrap_or_else(|| vec![b' '; SIZE.0]));
        self.rows = rows.collect();
    }

    /// Empties the cursor's line.
    pub fn clear_line(&mut self) {
        let row = usize::try_from(self.row - 1).ok().and_then(|row| self.rows.get_mut(row));
        if let Some(row) = row {
            row.fill(b' ');
        }
    }

    /// Empties the screen.
    pub fn clear(&mut self) {
        self.rows.iter_mut().for_each(|row| row.fill(b' '));
    }

    /// What stands on the screen, without spaces at the ends of lines.
    pub fn text(&self) -> String {
        let rows = self.rows.iter().map(|row| String::from_utf8_lossy(row).trim_end().to_owned());
        rows.collect::<Vec<_>>().join("\n")
    }
}
