/** Returns the name in camelCase of a name in kebab-case. */
export function camelCase(name: string): string;

/** Returns the name in kebab-case of a name in camelCase. */
export function kebabCase(name: string): string;
