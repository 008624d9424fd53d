/** Names under which an action leaves word for its post step (`GITHUB_STATE`). */
export const jobState = {
  /** Who held the lock; without it there is nothing to clear up. */
  lockHolder: 'lock-holder',
  /** `true` when the stage ended well, so that no key of a pass can be left. */
  keyGone: 'key-gone',
} as const;
