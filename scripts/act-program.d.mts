export const actVersion: string;
export function actProgram(): string | undefined;
export function installAct(): Promise<string | undefined>;
