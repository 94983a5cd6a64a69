/** The views, by the first part of the address. */
import type { ComponentType } from "preact";
import { ChatView } from "../chat/view.tsx";
import { DeploymentsView } from "../deployments/view.tsx";
import { EditorView } from "../editor/view.tsx";
import { RunView } from "../run/view.tsx";
import { RunsView } from "../runs/view.tsx";
import { ServersView } from "../servers/view.tsx";
import { NodeTypesView } from "../types/view.tsx";
import type { IconName } from "./icons.tsx";

export interface View {
  name: string;
  title: string;
  /** The title where there is little width. */
  short?: string;
  icon: IconName;
  /** The second key of its shortcut, after "g". */
  key: string;
  /** `parts`: those of the address after the name of the view. */
  component: ComponentType<{ parts: string[] }>;
}

function RunsOrRun({ parts }: { parts: string[] }) {
  return parts[0] ? <RunView key={parts[0]} id={parts[0]} /> : <RunsView />;
}

export const VIEWS: readonly View[] = [
  { name: "chat", title: "Chat", icon: "chat", key: "c", component: ChatView },
  { name: "runs", title: "Runs", icon: "runs", key: "r", component: RunsOrRun },
  { name: "deployments", title: "Deployments", short: "Deployed", icon: "deployments", key: "d", component: DeploymentsView },
  { name: "editor", title: "Editor", icon: "editor", key: "e", component: EditorView },
  { name: "types", title: "Node types", short: "Types", icon: "types", key: "t", component: NodeTypesView },
  { name: "servers", title: "Servers", icon: "servers", key: "s", component: ServersView },
];
