/**
 * A fault that a user can act on: one line that says what is wrong, where, and what to do next.
 * Shown without a stack trace; `cause` is kept for the debug log.
 */
export class UserError extends Error {
  override readonly name: string = 'UserError';
}
