/** Light or dark: as the system, until the user chooses. */
import { effect, signal } from "@preact/signals";

export type Theme = "system" | "light" | "dark";

const KEY = "lanemesh-theme";
const dark = matchMedia("(prefers-color-scheme: dark)");

function stored(): Theme {
  try {
    const value = localStorage.getItem(KEY);
    return value === "light" || value === "dark" ? value : "system";
  } catch {
    return "system"; // storage is forbidden
  }
}

export const theme = signal<Theme>(stored());
export const isDark = signal(dark.matches);

function apply(): void {
  isDark.value = theme.value === "system" ? dark.matches : theme.value === "dark";
  document.documentElement.dataset["theme"] = isDark.value ? "dark" : "light";
}

dark.addEventListener("change", apply);
effect(apply);

export function toggleTheme(): void {
  theme.value = isDark.value ? "light" : "dark";
  try {
    localStorage.setItem(KEY, theme.value);
  } catch {
    // It then lasts as long as the page.
  }
}
