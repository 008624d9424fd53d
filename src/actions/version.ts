/** Version of the suite, as package.json says it; written by `npm run generate`. */
export const version = '0.1.0';
