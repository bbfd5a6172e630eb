// Replaces the TextDecoder of the code that jco generates, which would drop a byte order mark at
// the beginning of a text.

class ExactTextDecoder extends globalThis.TextDecoder {
  constructor() {
    super('utf-8', { ignoreBOM: true });
  }
}

export { ExactTextDecoder as TextDecoder };
