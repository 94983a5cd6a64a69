/** The texts to undo to and to redo to, bounded by their number and their characters. */
const MOST_STEPS = 300;
const MOST_CHARACTERS = 32 * 1024 * 1024;
/** Changes of the same place within this time are one step, in milliseconds. */
const TOGETHER = 1_500;

export class History {
  private past: string[] = [];
  private future: string[] = [];
  private place = "";
  private time = -Infinity;

  get canUndo(): boolean {
    return this.past.length > 0;
  }

  get canRedo(): boolean {
    return this.future.length > 0;
  }

  /**
   * Notes the text before a change.
   * @param place What is changed: changes of one place that follow each other shortly are one step. Empty: a step of its own.
   */
  note(text: string, place: string, now: number): void {
    const together = place !== "" && place === this.place && now - this.time < TOGETHER;
    this.place = place;
    this.time = now;
    this.future = [];
    if (together) return;
    this.past.push(text);
    let characters = this.past.reduce((sum, one) => sum + one.length, 0);
    while (this.past.length > MOST_STEPS || (characters > MOST_CHARACTERS && this.past.length > 1)) characters -= this.past.shift()!.length;
  }

  undo(text: string): string | undefined {
    return this.step(text, this.past, this.future);
  }

  redo(text: string): string | undefined {
    return this.step(text, this.future, this.past);
  }

  clear(): void {
    this.past = [];
    this.future = [];
    this.place = "";
  }

  private step(text: string, from: string[], to: string[]): string | undefined {
    const found = from.pop();
    if (found !== undefined) to.push(text);
    this.place = "";
    return found;
  }
}
